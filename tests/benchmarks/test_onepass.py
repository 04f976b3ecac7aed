"""The one-pass benchmark's own parts: sides that agree, and a check that refuses those that do not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks import harness, onepass
from benchmarks.harness import BenchmarkError, Work


@pytest.fixture(scope="module")
def works() -> dict[str, Work]:
    found = {}
    for side in onepass.BENCHMARK.sides:
        harness._marks.clear()
        found[side.name] = side.run(rows=1500, dimension=256)
    harness._marks.clear()
    return found


def test_sides_find_the_same_clusters_and_both_kinds_of_rows(works: dict[str, Work]) -> None:
    assert onepass.same_clusters(works).startswith("the same ")
    assert 1 < works["loop"].facts["clusters"] < 1500


def test_same_clusters_of_other_leaders_are_refused(works: dict[str, Work]) -> None:
    with pytest.raises(BenchmarkError, match="outputs differ"):
        onepass.same_clusters({**works, "loop": replace(works["loop"], digest="")})


def test_same_clusters_of_rows_that_joined_less_similar_leaders_are_refused(works: dict[str, Work]) -> None:
    evidence = works["loop"].evidence
    far = {**evidence, "cosine": [cosine - 0.01 for cosine in evidence["cosine"]]}
    with pytest.raises(BenchmarkError, match="1500 rows joined other leaders"):
        onepass.same_clusters({**works, "loop": replace(works["loop"], evidence=far)})
