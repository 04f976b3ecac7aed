import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysft.algorithms import minhash
from tests.algorithms.test_shingles import TEXTS, M, mix64, reference_shingles

WORDS = [f"w{i}" for i in range(3000)]


def reference_signature(text: str, perms: np.ndarray, n: int, n_cjk: int) -> list[int]:
    found = reference_shingles(text, n, n_cjk)
    multiply, add = perms.tolist()
    return [
        min([((s * a + b) & M) >> 32 for s in found] + [0xFFFFFFFF])
        for a, b in zip(multiply, add, strict=True)
    ]


def reference_band_keys(signature: list[int], bands: int) -> list[int]:
    width = len(signature) // bands
    keys = []
    for band in range(bands):
        state = mix64(band + 1)
        for value in signature[band * width : (band + 1) * width]:
            state = mix64(state ^ value)
        keys.append(state)
    return keys


def pair_with_jaccard(rng: np.random.Generator, shared: int, own: int) -> tuple[str, str]:
    """Two texts of single-word shingles with `shared` in common and `own` each to itself."""
    words = rng.permutation(WORDS)[: shared + 2 * own]
    return " ".join(words[: shared + own]), " ".join([*words[:shared], *words[shared + own :]])


@settings(max_examples=100, deadline=None)
@given(st.lists(TEXTS, max_size=5), st.integers(0, 5))
def test_signatures_and_band_keys_of_any_texts_equal_the_reference(texts: list[str], seed: int) -> None:
    array = pa.array(texts, pa.string())
    found, counts = minhash.signatures(array, num_perm=16, n=2, n_cjk=3, seed=seed)
    perms = minhash.permutations(16, seed)
    assert found.tolist() == [reference_signature(t, perms, 2, 3) for t in texts]
    assert counts.tolist() == [len(reference_shingles(t, 2, 3)) for t in texts]
    assert minhash.band_keys(found, 4).tolist() == [reference_band_keys(s, 4) for s in found.tolist()]


@pytest.mark.parametrize(("shared", "own"), [(10, 45), (50, 25), (80, 10), (95, 3)])
def test_estimate_of_random_texts_is_unbiased_with_the_variance_of_theory(shared: int, own: int) -> None:
    rng = np.random.default_rng(0)
    jaccard = shared / (shared + 2 * own)
    pairs = [pair_with_jaccard(rng, shared, own) for _ in range(400)]
    left, right = (
        minhash.signatures(pa.array(side), num_perm=128, n=1, n_cjk=1, seed=1)[0]
        for side in zip(*pairs, strict=True)
    )
    estimates = minhash.estimate(minhash.one_byte(left), minhash.one_byte(right))
    sigma = np.sqrt(jaccard * (1 - jaccard) / 128)
    assert abs(estimates.mean() - jaccard) < 4 * sigma / np.sqrt(400)
    assert 0.8 * sigma < estimates.std() < 1.25 * sigma


def test_band_keys_of_pairs_meet_as_often_as_theory_says() -> None:
    rng = np.random.default_rng(1)
    for shared, own in ((60, 20), (85, 15), (90, 5)):
        jaccard = shared / (shared + 2 * own)
        pairs = [pair_with_jaccard(rng, shared, own) for _ in range(400)]
        left, right = (
            minhash.band_keys(minhash.signatures(pa.array(s), num_perm=128, n=1, n_cjk=1, seed=1)[0], 16)
            for s in zip(*pairs, strict=True)
        )
        met = (left == right).any(axis=1).mean()
        expected = 1 - (1 - jaccard**8) ** 16
        assert abs(met - expected) < 4 * np.sqrt(expected * (1 - expected) / 400) + 0.01


def test_band_keys_that_do_not_divide_are_refused() -> None:
    with pytest.raises(ValueError, match="10 permutations do not divide into 3 bands"):
        minhash.band_keys(np.zeros((1, 10), np.uint32), 3)


def test_band_keys_of_equal_bands_at_other_places_differ() -> None:
    keys = minhash.band_keys(np.full((1, 8), 7, np.uint32), 4)
    assert len(set(keys[0].tolist())) == 4


def test_leader_edges_in_one_bucket_link_only_similar_rows() -> None:
    a, b = np.zeros(32, np.uint8), np.full(32, 9, np.uint8)
    near_a = a.copy()
    near_a[:3] = 1
    left, right = minhash.leader_edges(np.array([0, 4]), [np.stack([a, b, near_a, b])], [0.8])
    assert list(zip(left.tolist(), right.tolist(), strict=True)) == [(0, 2), (1, 3)]


def test_leader_edges_with_two_kinds_need_both() -> None:
    same, other = np.zeros((2, 16), np.uint8), np.array([[0] * 8, [5] * 8], np.uint8)
    assert len(minhash.leader_edges(np.array([0, 2]), [same, other], [0.9, 0.5])[0]) == 0
    assert len(minhash.leader_edges(np.array([0, 2]), [same, other], [0.9, 0.0])[0]) == 1


def test_leader_edges_across_buckets_are_none() -> None:
    same = np.zeros((4, 16), np.uint8)
    left, right = minhash.leader_edges(np.array([0, 1, 2, 4]), [same], [0.5])
    assert (left.tolist(), right.tolist()) == ([2], [3])
    assert len(minhash.leader_edges(np.array([0]), [same[:0]], [0.5])[0]) == 0


def test_leader_edges_at_the_threshold_agree_with_estimate() -> None:
    rng = np.random.default_rng(2)
    base = rng.integers(0, 256, 64, np.uint8)
    for equal in range(65):
        other = base.copy()
        other[equal:] += 1
        is_near = len(minhash.leader_edges(np.array([0, 2]), [np.stack([base, other])], [0.7])[0]) == 1
        assert is_near == (minhash.estimate(base, other) >= 0.7 - 1e-9)


def test_leader_edges_of_a_template_with_unlike_rows_stay_within_the_window() -> None:
    rows = np.arange(30, dtype=np.uint8)[:, None].repeat(16, axis=1)
    rows[29] = rows[0]
    assert len(minhash.leader_edges(np.array([0, 30]), [rows], [0.9])[0]) == 1
    assert len(minhash.leader_edges(np.array([0, 30]), [rows], [0.9], window=28)[0]) == 0
    assert len(minhash.leader_edges(np.array([0, 30]), [rows], [0.9], window=29)[0]) == 1
