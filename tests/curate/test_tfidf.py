import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError
from sklearn.feature_extraction.text import TfidfVectorizer

from raysft.curate.embed import vectors_of
from raysft.curate.tfidf import Config
from raysft.executor import run_local
from raysft.sample import mark_dropped
from tests.algorithms.test_tfidf import POEMS, reference_features
from tests.fixtures.conversations import rules_of, shuffled, table_of

STAGE = "curate.tfidf"


def vectors_by_id(table: pa.Table) -> dict[str, list[float] | None]:
    return dict(zip(table["id"].to_pylist(), table["tfidf"].to_pylist(), strict=True))


def cosines(table: pa.Table, **fields) -> np.ndarray:
    vectors = vectors_of(run_local(STAGE, table, Config(**fields)), "tfidf")
    return vectors @ vectors.T


def test_tfidf_in_any_order_and_partitions_gives_the_same_vectors() -> None:
    table = table_of([(poem, "a heron") for poem in POEMS])
    expected = vectors_by_id(run_local(STAGE, table, Config(), partitions=1))
    for seed, partitions in ((1, 1), (2, 3), (3, 9)):
        out = run_local(STAGE, shuffled(table, seed), Config(), partitions=partitions)
        assert vectors_by_id(out) == expected


@pytest.mark.parametrize("sublinear", [True, False])
def test_tfidf_of_instructions_has_the_cosines_of_scikit_learn(sublinear: bool) -> None:
    found = cosines(
        table_of([(poem, "answer") for poem in POEMS]),
        on="instruction",
        dimension=1 << 16,
        sublinear=sublinear,
    )
    exact = TfidfVectorizer(analyzer=reference_features, sublinear_tf=sublinear).fit_transform(POEMS)
    assert np.allclose(found, (exact @ exact.T).toarray(), atol=0.02)


def test_tfidf_of_the_same_words_is_the_same_vector_in_both_languages() -> None:
    table = table_of([("Boil the rice!",), ("the RICE, boil",), ("煮米饭。",), ("煮米饭！",), ("饭米煮",)])
    found = cosines(table)
    assert found[0, 1] == pytest.approx(1)
    assert found[2, 3] == pytest.approx(1)
    assert found[2, 4] < 0.8
    assert abs(found[0, 2]) < 0.2


def test_tfidf_makes_rare_words_weigh_more_and_counts_do_not() -> None:
    rows = [("please explain photosynthesis",), ("please explain gravity",), ("briefly describe gravity",)]
    table = table_of([*rows, *[("please explain it",)] * 20])
    weighted, counted = cosines(table), cosines(table, weights="counts")
    assert weighted[1, 2] > weighted[0, 1]
    assert counted[1, 2] < counted[0, 1]
    assert counted[0, 1] == pytest.approx(2 / 3, abs=0.1)


def test_tfidf_of_counts_depends_on_no_other_row() -> None:
    alone = vectors_by_id(run_local(STAGE, table_of([("one row", "一行")]), Config(weights="counts")))
    many = vectors_by_id(
        run_local(STAGE, table_of([("one row", "一行"), ("row",)]), Config(weights="counts"))
    )
    assert alone.items() <= many.items()


def test_tfidf_of_a_row_without_a_token_is_null_and_drops_none() -> None:
    out = run_local(STAGE, table_of([("word",), ("?!",), ("",), (), ("字",)]), Config())
    assert out["tfidf"].is_valid().to_pylist() == [True, False, False, False, True]
    assert out["tfidf"].type == pa.list_(pa.float32(), 1024)
    assert rules_of(out) == [None] * 5
    lengths = np.linalg.norm(vectors_of(out.filter(out["tfidf"].is_valid()), "tfidf"), axis=1)
    assert np.allclose(lengths, 1)


@pytest.mark.parametrize("weights", ["tfidf", "counts"])
@pytest.mark.parametrize("texts", [[], [("one",)], [("?",)] * 2])
def test_tfidf_of_no_or_one_or_empty_rows_has_a_typed_column(texts, weights: str) -> None:
    out = run_local(STAGE, table_of(texts), Config(dimension=64, weights=weights))
    assert out["tfidf"].type == pa.list_(pa.float32(), 64)
    assert len(out) == len(texts)


def test_tfidf_of_dropped_rows_counts_and_marks_none() -> None:
    table = table_of([("rice and fish",), ("rice and meat",), ("fish",), ("fish",)])
    dropped = mark_dropped(table, "x", [None, None, "r", "r"])
    out = run_local(STAGE, dropped, Config())
    assert out["tfidf"].is_valid().to_pylist() == [True, True, False, False]
    expected = run_local(STAGE, table.slice(0, 2), Config())
    assert out["tfidf"].to_pylist()[:2] == expected["tfidf"].to_pylist()


def test_tfidf_config_with_few_places_is_refused() -> None:
    with pytest.raises(ValidationError, match="greater than or equal to 64"):
        Config(dimension=8)
