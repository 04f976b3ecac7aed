import numpy as np
import pyarrow as pa
import pytest

from raysft.curate import contamination
from raysft.curate.contamination import Hits, column_of, embedding_hits, exact_arrays, exact_hits


def entries(count: int) -> dict[str, np.ndarray]:
    return {"set": np.zeros(count, np.int32), "item": np.arange(count), "part": np.zeros(count, np.int8)}


def test_exact_hits_name_every_entry_with_the_text_and_none_for_blank_ones() -> None:
    arrays = exact_arrays(pa.array(["One  text", "其他", "", "ONE TEXT", "ﬁne"]))
    rows = np.array([3, 3, 5, 8])
    hits = exact_hits(rows, pa.array(["one text", "", " 其他\n", "Fine"]), arrays)
    assert sorted(zip(hits.row.tolist(), hits.entry.tolist(), strict=True)) == [
        (3, 0),
        (3, 3),
        (5, 1),
        (8, 4),
    ]
    assert hits.share.tolist() == [1.0] * 4
    assert len(exact_hits(rows[:0], pa.array([], pa.string()), arrays).row) == 0
    assert len(exact_hits(rows, pa.array(["a"] * 4), exact_arrays(pa.array([], pa.string()))).row) == 0


def test_embedding_hits_do_not_depend_on_how_vectors_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(40, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rows, items = np.arange(0, 80, 2), vectors[::3]
    cosines = vectors.astype(np.float64) @ items.astype(np.float64).T
    expected = [(2 * i, j) for i, j in zip(*np.nonzero(cosines >= 0.5), strict=True)]
    for tile in (1, 7, 64):
        monkeypatch.setattr(contamination, "TILE", tile)
        hits = embedding_hits(rows, vectors, items, 0.5)
        assert sorted(zip(hits.row.tolist(), hits.entry.tolist(), strict=True)) == expected
        shares = {(r, e): s for r, e, s in zip(hits.row, hits.entry, hits.share, strict=True)}
        assert shares == {(r, e): pytest.approx(cosines[r // 2, e]) for r, e in expected}


def test_column_of_hits_sorts_by_share_and_holds_an_item_once_a_kind() -> None:
    known = entries(3) | {"item": np.array([4, 4, 2])}
    ngram = Hits.of(np.array([1, 1, 1]), np.array([0, 1, 2]), "ngram", np.array([0.6, 0.7, 0.9]))
    exact = Hits.of(np.array([1]), np.array([0]), "exact", 1.0)
    column = column_of(Hits.all([ngram, exact]), 3, ["quiz"], known)
    column.validate(full=True)
    assert column.to_pylist()[0] == column.to_pylist()[2] == []
    found = [(h["item"], h["kind"], h["share"]) for h in column.to_pylist()[1]]
    assert found == [(4, "exact", 1.0), (2, "ngram", 0.9), (4, "ngram", 0.7)]
