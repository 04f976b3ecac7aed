import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysft.curate.semantic_dedup import Config, number_of_clusters
from raysft.executor import run_local
from raysft.sample import set_column
from tests.engines.test_vectors import clustered
from tests.fixtures.conversations import marks, rules_of, shuffled, table_of

STAGE = "curate.semantic_dedup"


def table_with(vectors: np.ndarray, answers: list[str] | None = None) -> pa.Table:
    answers = answers or ["a"] * len(vectors)
    column = pa.FixedSizeListArray.from_arrays(
        pa.array(np.ascontiguousarray(vectors, np.float32).ravel()), vectors.shape[1]
    )
    return set_column(table_of([(f"q{i}", a) for i, a in enumerate(answers)]), "embedding", column)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 5), st.integers(1, 9), st.sampled_from([None, 1, 3, 8]))
def test_semantic_dedup_in_any_order_and_partitions_decides_alike(seed, partitions, clusters) -> None:
    vectors, _ = clustered(6, 8, seed=seed)
    config = Config(clusters=clusters, threshold=0.97)
    table = table_with(vectors)
    expected = marks(run_local(STAGE, table, config, partitions=1))
    assert marks(run_local(STAGE, shuffled(table, seed), config, partitions=partitions)) == expected
    for rule, detail in expected.values():
        assert rule is None or expected[detail.split()[0]] == (None, None)


def test_semantic_dedup_of_tight_clusters_keeps_the_one_farthest_from_the_centroid() -> None:
    vectors, label = clustered(3, 10)
    out = run_local(STAGE, table_with(vectors), Config(clusters=3, threshold=0.8))
    kept = np.array([rule is None for rule in rules_of(out)])
    assert kept.sum() == 3
    for cluster in range(3):
        mine = np.flatnonzero(label == cluster)
        mean = vectors[mine].mean(axis=0)
        assert kept[mine[np.argmin(vectors[mine] @ mean)]]
    detail = next(d for d in out["drop_detail"].to_pylist() if d)
    winner, cosine = detail.split()
    assert winner in set(out["id"].to_pylist())
    assert 0.8 <= float(cosine) <= 1


def test_semantic_dedup_of_equal_vectors_keeps_the_longest_answer_then_the_smallest_id() -> None:
    table = table_with(np.eye(1, 4).repeat(4, axis=0), ["short", "a longer one", "short", "a longer two"])
    out = run_local(STAGE, table, Config())
    best = min(table["id"][1].as_py(), table["id"][3].as_py())
    assert [i for i, (rule, _) in marks(out).items() if rule is None] == [best]
    assert {d for d in out["drop_detail"].to_pylist() if d} == {f"{best} 1.0000"}


def test_semantic_dedup_of_orthogonal_vectors_drops_none() -> None:
    assert rules_of(run_local(STAGE, table_with(np.eye(5)), Config())) == [None] * 5


def test_semantic_dedup_of_rows_without_embedding_drops_none() -> None:
    table = table_with(np.eye(1, 4).repeat(3, axis=0))
    nulls = pa.array([None, [1, 0, 0, 0], None], pa.list_(pa.float32(), 4))
    assert rules_of(run_local(STAGE, set_column(table, "embedding", nulls), Config())) == [None] * 3
    empty = table_with(np.zeros((0, 4)))
    assert len(run_local(STAGE, empty, Config())) == 0
    all_null = set_column(table, "embedding", pa.nulls(3, pa.list_(pa.float32(), 4)))
    assert rules_of(run_local(STAGE, all_null, Config())) == [None] * 3


@pytest.mark.parametrize(("rows", "k"), [(0, 1), (4096, 1), (4097, 64), (1_000_000, 1000), (10**9, 16384)])
def test_number_of_clusters_grows_with_the_root_of_the_rows(rows: int, k: int) -> None:
    assert number_of_clusters(rows, Config()) == k
    assert number_of_clusters(rows, Config(clusters=5)) == 5
