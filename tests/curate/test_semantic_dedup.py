from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from raysft.algorithms.similar import cosines
from raysft.curate import semantic_dedup
from raysft.curate.semantic_dedup import Config, fit_centroids, measure_recall, number_of_clusters
from raysft.executor import fit_sample, narrow_of, run_local
from raysft.sample import set_column
from raysft.stage import Context, Fit, Fitted
from tests.algorithms.test_similar import reference
from tests.engines.test_vectors import clustered
from tests.fixtures.conversations import marks, rules_of, shuffled, table_of

STAGE = "curate.semantic_dedup"


def column_of(vectors: np.ndarray) -> pa.Array:
    flat = pa.array(np.ascontiguousarray(vectors, np.float32).ravel())
    return pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])


def table_with(vectors: np.ndarray, answers: list[str] | None = None, name: str = "embedding") -> pa.Table:
    answers = answers or ["a"] * len(vectors)
    talks = [(f"q{i}", a) for i, a in enumerate(answers)]
    return set_column(table_of(talks), name, column_of(vectors))


def on_a_circle(*degrees: float) -> np.ndarray:
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def context(**arrays: np.ndarray) -> Context:
    return Context(STAGE, "local", 0, fitted=Fitted(arrays=arrays))


def kept(table: pa.Table) -> list[int]:
    return [i for i, rule in enumerate(rules_of(table)) if rule is None]


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 50), st.integers(1, 9), st.sampled_from([None, 1, 3, 8]), st.sampled_from([0, 0.2, 1]))
def test_semantic_dedup_in_any_order_and_partitions_decides_alike(
    seed: int, partitions: int, clusters: int | None, margin: float
) -> None:
    vectors, _ = clustered(6, 8, seed=seed)
    config = Config(clusters=clusters, threshold=0.97, margin=margin)
    table = table_with(vectors)
    expected = marks(run_local(STAGE, table, config, partitions=1))
    assert marks(run_local(STAGE, shuffled(table, seed), config, partitions=partitions)) == expected
    for rule, detail in expected.values():
        assert rule is None or (detail is not None and expected[detail.split()[0]] == (None, None))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 99), st.integers(1, 9), st.floats(0.7, 0.999))
def test_semantic_dedup_with_the_whole_margin_finds_brute_forces_components(
    seed: int, clusters: int, threshold: float
) -> None:
    """With one cluster, and with several, because a margin of 1 misses no pair."""
    vectors, _ = clustered(5, 8, dimension=6, seed=seed)
    config = Config(clusters=clusters, threshold=threshold, margin=1, chains="drop")
    out = run_local(STAGE, table_with(vectors), config)
    ids, details = out["id"].to_pylist(), out["drop_detail"].to_pylist()
    winner = [i if d is None else ids.index(d.split()[0]) for i, d in enumerate(details)]
    expected = reference(vectors, threshold)
    assert {frozenset(np.flatnonzero(np.array(winner) == w)) for w in winner} == {
        frozenset(np.flatnonzero(np.array(expected) == e)) for e in expected
    }


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 99), st.integers(1, 9), st.floats(0.7, 0.999))
def test_semantic_dedup_that_keeps_chains_leaves_nobody_like_a_row_that_stays(
    seed: int, clusters: int, threshold: float
) -> None:
    vectors, _ = clustered(5, 8, dimension=6, seed=seed)
    out = run_local(STAGE, table_with(vectors), Config(clusters=clusters, threshold=threshold, margin=1))
    ids, details = out["id"].to_pylist(), out["drop_detail"].to_pylist()
    stays = [i for i, detail in enumerate(details) if detail is None]
    near = cosines(vectors, *(np.array(ends) for ends in zip(*product(stays, stays), strict=True)))
    assert (near.reshape(len(stays), -1) >= threshold).sum() == len(stays)  # each like itself alone
    for i, detail in enumerate(details):
        if detail is not None:
            winner = ids.index(detail.split()[0])
            assert winner in stays
            assert cosines(vectors, np.array([i]), np.array([winner]))[0] >= threshold
            assert "through others" not in detail


def test_locate_in_batches_of_any_size_gives_the_same_rows() -> None:
    vectors, _ = clustered(6, 20, seed=4)
    table, config = table_with(vectors), Config(clusters=7, threshold=0.8, margin=0.6)
    fitted = fit_centroids(narrow_of(table, semantic_dedup.STEPS[0], config), config, context())
    where = Context(STAGE, "local", 0, fitted=fitted)
    whole = semantic_dedup.locate(table, config, where)
    assert max(map(len, whole["clusters"].to_pylist())) > 1
    for size in (1, 11):
        parts = [semantic_dedup.locate(table.slice(i, size), config, where) for i in range(0, 120, size)]
        assert pa.concat_tables(parts).combine_chunks().equals(whole.combine_chunks())


def test_semantic_dedup_adds_clusters_and_centrality() -> None:
    vectors, label = clustered(3, 10)
    table = table_with(vectors)
    nulls = pa.array([*vectors[:-1].tolist(), None], pa.list_(pa.float32(), 16))
    out = run_local(STAGE, set_column(table, "embedding", nulls), Config(clusters=3))
    assert out["clusters"].type == pa.list_(pa.int32())
    assert out["centrality"].type == pa.float64()
    assert (out["clusters"][29].as_py(), out["centrality"][29].as_py()) == (None, None)
    own = [places[0] for places in out["clusters"].to_pylist()[:-1]]
    assert len({(a, b) for a, b in zip(own, label.tolist(), strict=False)}) == 3
    assert all(0.8 < c <= 1 for c in out["centrality"].to_pylist()[:-1])


ACROSS_A_BORDER = (*[0] * 100, 44, 46, *[90] * 100)
"""Degrees of rows that make two clusters; two between are duplicates at 0.998, 1 degree off the border."""


@pytest.mark.parametrize(("margin", "is_found"), [(0, False), (0.5, False), (0.6, True), (1, True)])
def test_semantic_dedup_across_a_border_needs_a_margin(margin: float, is_found: bool) -> None:
    config = Config(clusters=2, threshold=0.998, margin=margin)
    out = run_local(STAGE, table_with(on_a_circle(*ACROSS_A_BORDER)), config)
    own = [places[0] for places in out["clusters"].to_pylist()]
    assert own == [own[0]] * 101 + [1 - own[0]] * 101
    assert len(kept(out)) == (3 if is_found else 4)


def test_semantic_dedup_of_tight_clusters_keeps_the_one_farthest_from_the_centroid() -> None:
    vectors, label = clustered(3, 10)
    out = run_local(STAGE, table_with(vectors), Config(clusters=3, threshold=0.8))
    assert len(kept(out)) == 3
    for cluster in range(3):
        mine = np.flatnonzero(label == cluster)
        mean = vectors[mine].mean(axis=0)
        assert mine[np.argmin(vectors[mine] @ mean)] in kept(out)
    detail = next(d for d in out["drop_detail"].to_pylist() if d)
    winner, cosine = detail.split()
    assert winner in set(out["id"].to_pylist())
    assert 0.8 <= float(cosine) <= 1


def test_semantic_dedup_of_equal_vectors_keeps_the_longest_answer_then_the_smallest_id() -> None:
    answers = ["short", "一个更长一点的回答一", "short", "一个更长一点的回答二"]
    table = table_with(np.eye(1, 4).repeat(4, axis=0), answers)
    out = run_local(STAGE, table, Config())
    best = min(table["id"][1].as_py(), table["id"][3].as_py())
    assert [i for i, (rule, _) in marks(out).items() if rule is None] == [best]
    assert {d for d in out["drop_detail"].to_pylist() if d} == {f"{best} 1.0000"}
    assert {r for r in rules_of(out) if r} == {"semantic_duplicate"}


def test_semantic_dedup_that_keeps_the_best_goes_by_score_before_all_but_the_source() -> None:
    table = table_with(on_a_circle(0, 1, 2, 90), ["长" * 50, "b", "c", "d"])
    table = table.append_column("quality", pa.array([0.1, 0.9, None, 0.0]))
    config = Config(threshold=0.99, keep="best", prefer="quality")
    assert kept(run_local(STAGE, table, config)) == [1, 3]
    made = set_column(table, "op", pa.array([None, "evolve_deepening", None, None]))
    assert kept(run_local(STAGE, made, config)) == [0, 3]
    assert kept(run_local(STAGE, made, Config(threshold=0.99))) in ([0, 3], [2, 3])


def test_semantic_dedup_of_a_chain_keeps_its_ends_or_says_who_is_joined_through_others() -> None:
    table = table_with(on_a_circle(0, 10, 20))
    table = table.append_column("quality", pa.array([3, 2, 1]))
    config = Config(threshold=0.98, keep="best", prefer="quality")
    first = table["id"][0].as_py()
    assert run_local(STAGE, table, config)["drop_detail"].to_pylist() == [None, f"{first} 0.9848", None]
    out = run_local(STAGE, table, config.model_copy(update={"chains": "drop"}))
    assert out["drop_detail"].to_pylist() == [None, f"{first} 0.9848", f"{first} 0.9397 through others"]


def test_semantic_dedup_against_owned_rows_drops_new_ones_and_never_an_owned() -> None:
    owned = table_with(on_a_circle(0, 1, 40))
    table = table_of([(f"new {i}", "长" * 9) for i in range(4)])
    table = set_column(table, "id", pa.array([f"n{i}" for i in range(4)]))
    table = set_column(table, "embedding", column_of(on_a_circle(2, 80, 81, 120)))
    config = Config(threshold=0.999)
    for partitions in (1, 4):
        out = run_local(STAGE, table, config, owned=owned, partitions=partitions)
        assert len(out) == 4
        winners = [d and d.split()[0] for d in out["drop_detail"].to_pylist()]
        assert winners[0] in owned["id"].to_pylist()[:2]
        assert (winners[1] is None) != (winners[2] is None)
        assert winners[3] is None
    alone = run_local(STAGE, table, config)
    assert rules_of(alone)[0] is None


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 50), st.integers(1, 4), st.sampled_from([0.2, 1]))
def test_semantic_dedup_with_owned_rows_in_any_order_decides_alike(
    seed: int, clusters: int, margin: float
) -> None:
    vectors, _ = clustered(6, 8, seed=seed)
    everyone, config = table_with(vectors), Config(clusters=clusters, threshold=0.97, margin=margin)
    is_owned = pa.array(np.arange(48) % 3 == 0)
    owned, table = everyone.filter(is_owned), everyone.filter(pa.compute.invert(is_owned))
    expected = marks(run_local(STAGE, table, config, owned=owned))
    again = run_local(
        STAGE, shuffled(table, seed), config, owned=shuffled(owned, seed + 1), partitions=1 + seed % 5
    )
    assert marks(again) == expected


def test_edges_of_owned_rows_alone_are_none() -> None:
    same = np.eye(1, 4, dtype=np.float32).repeat(5, axis=0)
    rows = {"key": np.zeros(5, np.uint64), "row": np.arange(5), "vector": column_of(same)}
    is_home = np.array([True, True, False, True, False])
    rows |= {"owned": np.ones(5, bool), "is_home": is_home}
    assert len(semantic_dedup.edges(pa.table(rows), Config(), context())) == 0
    rows |= {"owned": np.array([True, True, True, False, False])}
    found = semantic_dedup.edges(pa.table(rows), Config(), context())
    assert sorted(zip(found["row"].to_pylist(), found["other"].to_pylist(), strict=True)) == [
        (0, 3),
        (1, 3),
        (2, 3),
        (4, 3),
    ]


def test_fit_centroids_takes_over_those_of_an_owned_set_that_has_enough() -> None:
    vectors, _ = clustered(4, 5)
    table, config = table_with(vectors), Config(clusters=4)
    narrow = narrow_of(table, semantic_dedup.STEPS[0], config)
    for k, is_taken in ((1, False), (2, True), (9, True)):
        theirs = Fitted(arrays={"centroids": vectors[:k], "limits": np.zeros((k, k), np.float32)})
        found = fit_centroids(narrow, config, Context(STAGE, "local", 0, owned_fitted=(theirs,)))
        assert (len(found.arrays["centroids"]) == k) == is_taken
        assert np.array_equal(found.arrays["centroids"], vectors[:k]) == is_taken


def test_semantic_dedup_compares_the_column_that_is_named() -> None:
    table = table_with(on_a_circle(0, 60, 90), name="tfidf")
    table = set_column(table, "embedding", column_of(on_a_circle(0, 0, 0)))
    assert len(kept(run_local(STAGE, table, Config(vectors="tfidf")))) == 3
    assert len(kept(run_local(STAGE, table, Config()))) == 1


def test_semantic_dedup_of_orthogonal_vectors_drops_none() -> None:
    assert rules_of(run_local(STAGE, table_with(np.eye(5)), Config())) == [None] * 5


def test_semantic_dedup_of_rows_without_a_vector_drops_none() -> None:
    table = table_with(np.eye(1, 4).repeat(3, axis=0))
    nulls = pa.array([None, [1, 0, 0, 0], None], pa.list_(pa.float32(), 4))
    assert rules_of(run_local(STAGE, set_column(table, "embedding", nulls), Config())) == [None] * 3
    all_null = set_column(table, "embedding", pa.nulls(3, pa.list_(pa.float32(), 4)))
    assert rules_of(run_local(STAGE, all_null, Config(clusters=3))) == [None] * 3


def test_semantic_dedup_of_no_rows_or_one_keeps_them_and_adds_its_columns() -> None:
    for rows in (0, 1):
        out = run_local(STAGE, table_with(np.eye(rows, 4)), Config(clusters=2))
        assert rules_of(out) == [None] * rows
        assert out["clusters"].to_pylist() == [[0]] * rows
        assert out["clusters"].type == pa.list_(pa.int32())


def test_semantic_dedup_of_vectors_that_are_not_of_unit_length_names_the_row() -> None:
    table = table_with(np.diag([1.0, 1.0005, 2.0]))
    with pytest.raises(
        ValueError, match=f"embedding: the vector of row {table['id'][2].as_py()} has length 2"
    ):
        run_local(STAGE, table, Config())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"margin": 1.5}, "less than or equal to 1"),
        ({"margin": -0.1}, "greater than or equal to 0"),
        ({"keep": "best"}, "keep is 'best' and prefer is None; allowed"),
        ({"prefer": "quality"}, "keep is 'farthest' and prefer is 'quality'; allowed"),
        ({"recall_rows": 1 << 20}, "less than or equal to 16384"),
        ({"clusters": 0}, "greater than or equal to 1"),
    ],
)
def test_config_refuses_what_means_nothing(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Config(**fields)


@pytest.mark.parametrize(("rows", "k"), [(0, 1), (16_384, 1), (16_385, 29), (1_000_000, 224), (10**9, 7071)])
def test_number_of_clusters_grows_with_the_root_of_the_rows(rows: int, k: int) -> None:
    assert number_of_clusters(rows, Config()) == k
    assert number_of_clusters(rows, Config(clusters=5)) == 5
    assert number_of_clusters(rows, Config(iterations=10**9)) == 1


def test_rows_behind_a_sample_are_estimated_from_its_digests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(semantic_dedup, "FIT_ROWS", 1000)
    ids = pa.table({"id": [f"row {i}" for i in range(20_000)]})
    where = Context(STAGE, "local", 5)
    sample = fit_sample(ids, Fit(fn=fit_centroids, max_rows=1000), None, where)
    assert semantic_dedup.rows_behind(sample, where) == pytest.approx(20_000, rel=0.1)
    assert semantic_dedup.rows_behind(ids.slice(0, 999), where) == 999


def recall_of(table: pa.Table, config: Config) -> Fitted:
    fitted = fit_centroids(narrow_of(table, semantic_dedup.STEPS[0], config), config, context())
    where = Context(STAGE, "local", 0, fitted=fitted)
    rows = semantic_dedup.locate(table, config, where)
    return measure_recall(fit_sample(rows, semantic_dedup.STEPS[2], config, where), config, where)


def test_measure_recall_counts_the_pairs_that_meet() -> None:
    vectors, ends = on_a_circle(*ACROSS_A_BORDER), 100 * 99
    for margin, found in ((0.0, ends), (1.0, ends + 1)):
        config = Config(clusters=2, threshold=0.998, margin=margin)
        told = recall_of(table_with(vectors), config).values
        ((rows, k, _, *pairs),) = told["findings"][0]["rows"]
        assert (rows, k, pairs) == (202, 2, [ends + 1, found, round(found / (ends + 1), 4)])
        assert told["notes"] == [
            f"clusters find {found:,} of 9,901 pairs ({found / 9901:.2%}) with cosine ≥ 0.998 of 202 rows; "
            "2 clusters"
        ]


def test_measure_recall_of_no_pairs_one_cluster_or_no_rows_says_so() -> None:
    assert recall_of(table_with(np.eye(6)), Config(clusters=3)).values["notes"] == [
        "clusters find no pair with cosine ≥ 0.95 of 6 rows; 3 clusters"
    ]
    one = recall_of(table_with(np.eye(6)), Config())
    assert one.values == {"notes": ["one cluster: all pairs are compared"]}
    assert recall_of(table_with(np.eye(6)), Config(clusters=3, recall_rows=0)).values == {}


def test_measure_recall_of_some_rows_compares_so_many() -> None:
    vectors, _ = clustered(4, 30, dimension=8, seed=1)
    table, config = table_with(vectors), Config(clusters=4, threshold=0.97, recall_rows=50)
    first = recall_of(table, config).values["findings"][0]["rows"]
    ((rows, _, _, pairs, _, recall),) = first
    assert rows == 50
    assert pairs > 0
    assert recall > 0.9
