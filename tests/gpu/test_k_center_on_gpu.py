"""Products on a GPU choose the rows that numpy's choose."""

import numpy as np
import pytest

from raysft.algorithms.k_center import k_center_greedy


@pytest.mark.gpu
@pytest.mark.parametrize("rows", [1, 300_000])
def test_k_center_greedy_on_a_gpu_takes_the_same_rows_as_on_the_cpu(rows: int) -> None:
    vectors = np.random.default_rng(0).normal(size=(rows, 96)).astype(np.float32)
    k = min(rows, 600)
    here, there = (k_center_greedy(vectors, k, device=device) for device in ("cpu", "cuda"))
    assert there.centres.tolist() == here.centres.tolist()
    assert there.distance.tobytes() == here.distance.tobytes()
    assert there.place.tolist() == here.place.tolist()
