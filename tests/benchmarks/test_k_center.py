"""The K-Center-Greedy benchmark's own parts: its vectors, and sides that agree or are refused."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import harness, k_center
from benchmarks.harness import BenchmarkError, Work

SIZE = {"rows": 700, "dimension": 24, "budget": 90}


@pytest.fixture(scope="module")
def works() -> dict[str, Work]:
    found = {}
    for side in k_center.BENCHMARK.sides:
        harness._marks.clear()
        found[side.name] = side.run(**SIZE)
    harness._marks.clear()
    return found


def test_sides_choose_the_same_rows_in_the_same_order(works: dict[str, Work]) -> None:
    assert k_center.BENCHMARK.check(works) == "outputs have the same digest"
    assert len({work.facts["radius"] for work in works.values()}) == 1


def test_sides_tell_how_much_of_the_bandwidth_a_pass_for_each_centre_would_be(works: dict[str, Work]) -> None:
    for work in works.values():
        assert work.facts["bandwidth_gb_s"] > 0.1
        assert work.facts["bandwidth_share"] > 0


def test_sides_with_other_centres_or_distances_are_refused(works: dict[str, Work]) -> None:
    vectors = k_center.unit_vectors(5, 4)
    for centres, distance in (
        ([0, 2], [0, 1, 1, 0, 0]),
        ([2, 0], [0, 1, 1, 0, 1]),
        ([0, 2], [0, 1, 1, 0, 1]),
    ):
        other = k_center.work_of(vectors, np.array(centres), np.array(distance, np.float32), 1.0, 1.0)
        with pytest.raises(BenchmarkError, match="outputs differ"):
            k_center.BENCHMARK.check({**works, "naive": other})


def test_share_of_bandwidth_is_a_pass_a_centre_by_the_seconds() -> None:
    vectors = np.zeros((1000, 250), np.float32)  # a megabyte
    work = k_center.work_of(vectors, np.arange(4), np.zeros(1000, np.float32), 0.001, 8.0)
    assert work.facts["bandwidth_share"] == 0.5


def test_unit_vectors_are_of_unit_length_and_always_the_same() -> None:
    vectors = k_center.unit_vectors(50, 7)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1)
    assert np.array_equal(vectors, k_center.unit_vectors(50, 7))
