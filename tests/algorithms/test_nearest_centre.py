import shutil
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysft.algorithms import nearest_centre
from raysft.algorithms.nearest_centre import BLOCK, TILE, NearestCentres, distance_between, leaves_of

DEVICES = ("cpu", "cpu:0")  # numpy, and torch on the same processor


def plain_nearest(vectors: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One comparison at a time: what `NearestCentres` stands for."""
    distance, place = np.full(len(vectors), np.inf, np.float32), np.full(len(vectors), -1)
    for number, centre in enumerate(centres):
        found = np.linalg.norm(vectors - centre, axis=1)
        place[found < distance] = number
        distance = np.minimum(distance, found)
    return distance, place


def nearest(vectors: np.ndarray, centres: np.ndarray, device: str) -> NearestCentres:
    found = NearestCentres(vectors, device)
    found.add(centres)
    return found


@pytest.mark.parametrize(
    "dimension", [0, 1, 7, 8, 9, 127, 128, 129, 136, 250, 384, 385, 768, 1000, 1025, 4096]
)
def test_distance_between_has_the_bits_of_numpys_norm(dimension: int) -> None:
    rng = np.random.default_rng(dimension)
    rows = (rng.normal(size=(50, dimension)) * 10.0 ** rng.integers(-6, 6, (50, dimension))).astype(
        np.float32
    )
    leaves = leaves_of(dimension)
    sums = np.empty(len(leaves), np.float32)
    found = np.array([distance_between(row, rows[3], leaves, sums) for row in rows], np.float32)
    assert found.tobytes() == np.linalg.norm(rows - rows[3], axis=1).tobytes()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("rows", "centres"), [(TILE + 100, BLOCK + 20), (3, 1000), (40, 1)])
def test_nearest_centres_in_blocks_and_tiles_equal_one_comparison_at_a_time(
    device: str, rows: int, centres: int
) -> None:
    rng = np.random.default_rng(rows)
    vectors = rng.normal(size=(rows + centres, 24)).astype(np.float32)
    found = nearest(vectors[:rows], vectors[rows:], device)
    distance, place = plain_nearest(vectors[:rows], vectors[rows:])
    assert found.distance.tobytes() == distance.tobytes()
    assert found.place.tolist() == place.tolist()
    assert found.count == centres


@st.composite
def awkward_vectors(draw: st.DrawFn) -> np.ndarray:
    """Rows that are equal, nearly equal beside their length, tiny or large: where rounding decides."""
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    shape = (draw(st.integers(1, 40)), draw(st.sampled_from([1, 2, 3, 9, 140])))
    kind = draw(st.sampled_from(["grid", "offset", "copies"]))
    if kind == "grid":
        vectors = rng.integers(-1, 2, shape).astype(np.float64)
    elif kind == "offset":
        vectors = 1000 + rng.normal(size=shape) * 10.0 ** draw(st.integers(-6, 0))
    else:
        vectors = rng.normal(size=(3, shape[1]))[rng.integers(0, 3, shape[0])]
        vectors = vectors * (1 + rng.integers(-1, 2, shape) * 2.0**-23)
    return np.float32(vectors * 10.0 ** draw(st.sampled_from([-40, -22, -8, 0, 8, 10])))


@settings(max_examples=150, deadline=None)
@given(awkward_vectors(), st.integers(0, 40), st.sampled_from(DEVICES))
def test_nearest_centres_where_rounding_decides_equal_one_comparison_at_a_time(
    vectors: np.ndarray, cut: int, device: str
) -> None:
    rows, centres = vectors[: cut + 1], vectors[cut // 2 :]
    found = nearest(rows, centres, device)
    distance, place = plain_nearest(rows, centres)
    assert found.distance.tobytes() == distance.tobytes()
    assert found.place.tolist() == place.tolist()


@pytest.mark.parametrize("device", DEVICES)
def test_nearest_centres_without_rows_or_centres_are_far_and_nowhere(device: str) -> None:
    found = nearest(np.ones((2, 3), np.float32), np.zeros((0, 3), np.float32), device)
    assert (found.distance.tolist(), found.place.tolist(), found.count) == ([np.inf, np.inf], [-1, -1], 0)
    assert len(nearest(np.zeros((0, 3), np.float32), np.ones((2, 3), np.float32), device).distance) == 0


@pytest.mark.parametrize("device", DEVICES)
def test_nearest_centres_of_read_only_memory_are_found_without_a_warning(device: str) -> None:
    vectors = np.eye(4, dtype=np.float32)
    vectors.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert nearest(vectors, vectors, device).place.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (np.zeros(3, np.float32), r"expected vectors \[rows, dimension\], got shape \(3,\)"),
        (np.array([[np.nan]], np.float32), "must be finite"),
        (np.array([[np.inf]], np.float32), "must be finite"),
        (np.array([[2e15]], np.float32), r"of length 1e\+15 at most"),
    ],
)
def test_nearest_centres_of_what_is_no_vector_are_refused(vectors: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NearestCentres(vectors, "cpu")
    with pytest.raises(ValueError, match=message):
        NearestCentres(np.ones((2, 1), np.float32), "cpu").add(vectors)


def test_nearest_centres_of_another_dimension_are_refused() -> None:
    with pytest.raises(ValueError, match="centres have 3 dimensions, the rows have 2"):
        NearestCentres(np.ones((2, 2), np.float32), "cpu").add(np.ones((2, 3), np.float32))


def test_best_device_without_a_driver_is_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    nearest_centre.best_device.cache_clear()
    assert nearest_centre.best_device() == "cpu"
    nearest_centre.best_device.cache_clear()
