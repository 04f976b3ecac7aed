"""The semantic deduplication benchmark's own parts: its rows, and sides that agree or are refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks import harness, semantic
from benchmarks.harness import BenchmarkError, Work
from raysft.algorithms import similar

ROWS, DIMENSION = 2_000, 48


@pytest.fixture(scope="module")
def works() -> dict[str, Work]:
    found = {}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(similar, "_has_amx", similar._has_amx)  # a side replaces it
        for side in semantic.BENCHMARK.sides:
            harness._marks.clear()
            found[side.name] = side.run(rows=ROWS, dimension=DIMENSION)
    harness._marks.clear()
    return found


def test_sides_find_the_same_components_and_a_margin_no_fewer(works: dict[str, Work]) -> None:
    said = semantic.same_components(works)
    assert said.startswith("margin_0, margin_0_float32, raw_faiss have the same components and ")
    ours = works[harness.OURS].facts
    assert ours["planted_found"] / ours["planted"] >= 0.98
    assert ours["dropped"] + ours["components"] == ROWS


def test_same_components_of_other_components_are_refused(works: dict[str, Work]) -> None:
    with pytest.raises(BenchmarkError, match="outputs differ"):
        semantic.same_components({**works, semantic.RAW: replace(works[semantic.RAW], digest="x")})


def test_same_components_where_ours_lack_a_pair_are_refused(works: dict[str, Work]) -> None:
    apart = replace(works[harness.OURS], evidence=list(range(ROWS)))
    with pytest.raises(BenchmarkError, match="one component of raw_faiss, and several of ours"):
        semantic.same_components({**works, harness.OURS: apart})
    facts = {**works[harness.OURS].facts, "planted_found": 0}
    with pytest.raises(BenchmarkError, match="planted pairs found, of 200"):
        semantic.same_components({**works, harness.OURS: replace(works[harness.OURS], facts=facts)})


def test_rows_and_neighbours_are_as_planted_and_always_the_same() -> None:
    vectors, planted = semantic.rows_and_neighbours(ROWS, DIMENSION)
    assert (vectors.shape, vectors.dtype, planted.shape) == ((ROWS, DIMENSION), np.float32, (200, 2))
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    cosine = similar.cosines(vectors, planted[:, 0], planted[:, 1])
    assert 0.9549 < cosine.min() < 0.96
    assert cosine.max() > 0.995
    assert np.array_equal(semantic.rows_and_neighbours(ROWS, DIMENSION)[0], vectors)


def test_work_of_labels_names_components_by_their_first_row() -> None:
    work = semantic.work_of(np.array([2, 1, 2, 1, 4]), np.array([[0, 2], [0, 4]]))
    assert work.evidence == [0, 1, 0, 1, 4]
    assert dict(work.facts) == {"components": 3, "dropped": 2, "planted": 2, "planted_found": 1}
    assert work.digest == semantic.work_of(np.array([0, 3, 0, 3, 4]), np.zeros((0, 2), np.int64)).digest
