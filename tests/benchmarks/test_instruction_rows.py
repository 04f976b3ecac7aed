"""The made-up rows of the near-duplicate benchmarks: what is planted is there, and a row is its number's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks import instruction_rows

ROWS = 1200


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rows") / "of-this-number"
    instruction_rows.write(ROWS, folder)
    return folder


def column(folder: Path, name: str) -> list[str]:
    return pq.read_table(folder / "texts")[name].to_pylist()


def shingles(text: str) -> set[tuple[str, ...]]:
    words = text.split(" ")
    return {tuple(words[i : i + 3]) for i in range(len(words) - 2)}


def test_rows_are_questions_and_answers_of_20_to_200_words(folder: Path) -> None:
    rows = pq.read_table(folder / "rows").to_pylist()
    assert [row["id"] for row in rows] == list(range(ROWS))
    joined = [f"{row['instruction']} {row['output']}" for row in rows]
    assert joined == column(folder, "text")
    lengths = np.array([len(text.split(" ")) for text in joined])
    assert lengths.min() >= 20
    assert lengths.max() <= 200
    assert 100 < lengths.mean() < 120


def test_rows_of_another_number_begin_with_the_same_rows(folder: Path, tmp_path: Path) -> None:
    instruction_rows.write(100, tmp_path / "fewer")
    assert column(tmp_path / "fewer", "text") == column(folder, "text")[:100]


def test_one_row_in_five_repeats_an_earlier_one_as_similar_as_told(folder: Path) -> None:
    texts, truth = column(folder, "text"), pq.read_table(folder / "truth.parquet").to_pylist()
    repeats = [row for row in truth if row["base"] != row["id"]]
    assert 0.15 < len(repeats) / ROWS < 0.25
    assert all(row["base"] < row["id"] for row in repeats)
    for row in repeats:
        left, right = shingles(texts[row["id"]]), shingles(texts[row["base"]])
        assert len(left & right) / len(left | right) >= row["similarity"] - 0.06, "repeated shingles aside"
    assert sum(row["similarity"] == 1 for row in repeats) > 0.15 * len(repeats)
    assert sum(row["similarity"] < 0.7 for row in repeats) > 0.1 * len(repeats)


def test_what_a_row_repeats_repeats_nothing_itself(folder: Path) -> None:
    base = pq.read_table(folder / "truth.parquet")["base"].to_numpy()
    assert np.array_equal(base[base], base)


def test_spellings_of_all_numbers_differ_and_frequent_words_are_short() -> None:
    spellings, cumulative = instruction_rows.vocabulary()
    assert len(spellings.unique()) == len(spellings) == 6 * instruction_rows.VOCABULARY
    assert cumulative[-1] == 1
    lengths = pa.compute.utf8_length(spellings).to_numpy()
    assert lengths[:100].mean() < lengths[1000:2000].mean() < lengths[30_000:40_000].mean()


def test_write_again_leaves_the_files_alone(folder: Path) -> None:
    before = (folder / "truth.parquet").stat().st_mtime_ns
    instruction_rows.write(ROWS, folder)
    assert (folder / "truth.parquet").stat().st_mtime_ns == before
