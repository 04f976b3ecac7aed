import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysft.algorithms import minhash
from tests.algorithms.test_shingles import SHINGLE_PRIME, TEXTS, M, mix64, reference_shingles

WORDS = [f"w{i}" for i in range(3000)]


def reference_keys(text: str, multiply: list[int], bands: int, n: int, n_cjk: int) -> list[int]:
    """Each band's hash, number by number."""
    found = reference_shingles(text, n, n_cjk)
    if not found:
        return [0] * bands
    minima = [min(((s & 0xFFFFFFFF) * m + (s >> 32)) & 0xFFFFFFFF for s in found) for m in multiply]
    keys = []
    for band in range(bands):
        state, of_band = band + 1, [*minima[band::bands], 0]
        for i in range(0, len(of_band) - 1, 2):
            state = (state * SHINGLE_PRIME + (of_band[i] | of_band[i + 1] << 32)) & M
        keys.append(mix64(state))
    return keys


def pairs_with_jaccard(shared: int, own: int, pairs: int, seed: int) -> tuple[pa.Array, pa.Array]:
    """Texts of single-word shingles, each with `shared` of them in common with its fellow, and `own` more."""
    rng = np.random.default_rng(seed)
    drawn = [rng.permutation(WORDS)[: shared + 2 * own] for _ in range(pairs)]
    left = [" ".join(words[: shared + own]) for words in drawn]
    return pa.array(left), pa.array([" ".join([*w[:shared], *w[shared + own :]]) for w in drawn])


def keys_of(texts: pa.Array, bands: int, rows: int) -> np.ndarray:
    return minhash.band_keys(texts, bands=bands, rows=rows, n=1, n_cjk=1, seed=1)[0]


@settings(max_examples=100, deadline=None)
@given(st.lists(TEXTS, max_size=5), st.integers(1, 4), st.integers(1, 5), st.integers(0, 5))
def test_band_keys_of_any_texts_equal_the_reference(texts, bands, rows, seed) -> None:
    array = pa.array(texts, pa.string())
    keys, counts = minhash.band_keys(array, bands=bands, rows=rows, n=2, n_cjk=3, seed=seed)
    multiply = minhash.multipliers(bands * rows, seed).tolist()
    assert all(m % 2 for m in multiply)
    assert keys.tolist() == [reference_keys(t, multiply, bands, 2, 3) for t in texts]
    assert counts.tolist() == [len(reference_shingles(t, 2, 3)) for t in texts]


@pytest.mark.parametrize(("shared", "own"), [(10, 45), (50, 25), (80, 10), (95, 3)])
def test_minima_of_random_texts_are_equal_as_often_as_their_shingles_with_the_variance_of_theory(
    shared: int, own: int
) -> None:
    jaccard = shared / (shared + 2 * own)
    left, right = (keys_of(texts, 128, 1) for texts in pairs_with_jaccard(shared, own, 400, 0))
    estimates = (left == right).mean(axis=1)
    sigma = np.sqrt(jaccard * (1 - jaccard) / 128)
    assert abs(estimates.mean() - jaccard) < 4 * sigma / np.sqrt(400)
    assert 0.8 * sigma < estimates.std() < 1.25 * sigma


@pytest.mark.parametrize(("bands", "rows"), [(16, 8), (14, 9), (25, 5)])
def test_bands_of_pairs_meet_as_often_as_theory_says(bands: int, rows: int) -> None:
    for shared, own in ((60, 20), (85, 15), (90, 5)):
        left, right = (keys_of(texts, bands, rows) for texts in pairs_with_jaccard(shared, own, 400, 1))
        expected = minhash.share_band(np.array(shared / (shared + 2 * own)), bands, rows)
        met = (left == right).any(axis=1).mean()
        assert abs(met - expected) < 4 * np.sqrt(expected * (1 - expected) / 400) + 0.01


def test_band_keys_of_one_text_differ_from_band_to_band() -> None:
    keys = keys_of(pa.array(["once 春"]), 64, 1)[0]
    assert len(set(keys.tolist())) == 64


def test_band_keys_of_a_slice_are_those_of_its_rows() -> None:
    texts = pa.array(["a b c d", "春天来了", "", "x" * 40])
    assert keys_of(texts.slice(1, 2), 4, 2).tolist() == keys_of(texts, 4, 2)[1:3].tolist()


@pytest.mark.parametrize("num_perm", [1, 7, 64])
@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8, 1.0])
def test_bands_for_a_threshold_have_the_least_error_of_all(num_perm: int, threshold: float) -> None:
    def error(bands: int, rows: int) -> float:
        """Midpoint sums of the two areas, in steps of 1/2000."""
        s = (np.arange(2000) + 0.5) / 2000
        p = 1 - (1 - s**rows) ** bands
        return float(np.where(s < threshold, p, 1 - p).mean())

    bands, rows = minhash.bands_for(num_perm, threshold)
    assert bands * rows <= num_perm
    best = min(error(b, r) for b in range(1, num_perm + 1) for r in range(1, num_perm // b + 1))
    assert error(bands, rows) <= best + 1e-5


def test_bands_for_are_those_that_datasketch_documents() -> None:
    # its MinHashLSH(threshold=0.9, num_perm=128): "5 25"
    assert minhash.bands_for(128, 0.9) == (5, 25)
