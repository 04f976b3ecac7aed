import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysft.curate import tfidf
from raysft.curate.onepass_cluster import ADDS, Config, part_keys, report
from raysft.executor import run_local
from raysft.sample import digest, digest64, live, mark_dropped, set_column
from raysft.stage import Context, Fitted
from tests.algorithms.test_onepass import clustered, plain_loop
from tests.algorithms.test_similar import unit_rows
from tests.fixtures.conversations import marks, rules_of, shuffled, table_of

STAGE = "curate.onepass_cluster"


def with_vectors(table: pa.Table, vectors: np.ndarray, name: str = "embedding") -> pa.Table:
    column = pa.FixedSizeListArray.from_arrays(
        pa.array(np.ascontiguousarray(vectors, np.float32).ravel()), vectors.shape[1]
    )
    return set_column(table, name, column)


def table_with(vectors: np.ndarray, answers: list[str] | None = None) -> pa.Table:
    answers = answers or ["a" * (i % 3) for i in range(len(vectors))]
    return with_vectors(table_of([(f"q{i}", a) for i, a in enumerate(answers)]), vectors)


def found_in(table: pa.Table) -> dict[str, tuple]:
    """(cluster, cosine, size) by id."""
    columns = (table[name].to_pylist() for name in ("id", *ADDS))
    return {own: tuple(rest) for own, *rest in zip(*columns, strict=True)}


def owned_of(table: pa.Table, start: int, stop: int) -> pa.Table:
    """Some of the rows as a set of another run, with ids of their own."""
    part = table.slice(start, stop - start)
    return set_column(part, "id", pa.array([digest("owned", i) for i in range(len(part))], pa.string()))


def findings(table: pa.Table, config: Config, parts: int = 1) -> dict[str, object]:
    out = run_local(STAGE, table, config)
    rows = live(out).select(["id", *ADDS])
    context = Context(STAGE, "f", 0, fitted=Fitted(values={"parts": parts, "new": len(table)}))
    fitted = report(rows, config, context)
    (told,) = fitted.values["findings"]
    assert len(fitted.values["notes"]) == 1
    return dict(zip(told["columns"], told["rows"][0], strict=True))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 60), st.integers(0, 99), st.integers(1, 9), st.sampled_from([0.6, 0.9, 1.0]))
def test_onepass_cluster_in_any_order_equals_the_plain_loop_by_preference(
    rows, seed, partitions, threshold
) -> None:
    vectors = clustered(rows, 12, 0.5, seed) if rows else np.zeros((0, 12))
    table = table_with(vectors)
    out = run_local(STAGE, shuffled(table, seed), Config(threshold=threshold), partitions=partitions)
    ids, answers = table["id"].to_pylist(), [m[1]["content"] for m in table["messages"].to_pylist()]
    order = sorted(range(rows), key=lambda i: (-len(answers[i]), ids[i]))
    expected = plain_loop(vectors[order], threshold, 0)
    leaders = [leader for leader, _ in expected]
    assert found_in(out) == {
        ids[i]: (ids[order[leader]], cosine, leaders.count(leader))
        for i, (leader, cosine) in zip(order, expected, strict=True)
    }


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 99), st.integers(1, 9), st.sampled_from([1, 7, 40]), st.sampled_from([0, 20]))
def test_onepass_cluster_of_parts_keeps_leaders_apart_and_members_near_in_any_order(
    seed, partitions, part_rows, owned_rows
) -> None:
    vectors = clustered(120, 12, 0.7, seed)
    table = table_with(vectors)
    owned = owned_of(table, 0, owned_rows) if owned_rows else None
    config = Config(threshold=0.8, single_pass_rows=part_rows)
    out = run_local(STAGE, table, config, partitions=1, owned=owned)
    again = run_local(
        STAGE,
        shuffled(table, seed),
        config,
        partitions=partitions,
        owned=None if owned is None else shuffled(owned, seed),
    )
    assert found_in(again) == found_in(out)
    place = {own: i for i, own in enumerate(table["id"].to_pylist())}
    place |= {digest("owned", i): i for i in range(owned_rows)}
    clusters = out["cluster"].to_pylist()
    leaders = [own for own, cluster in zip(out["id"].to_pylist(), clusters, strict=True) if own == cluster]
    for left, right in itertools.combinations(leaders, 2):
        assert vectors[place[left]] @ vectors[place[right]] < 0.8 + 1e-6
    for own, (cluster, cosine, size) in found_in(out).items():
        assert cosine >= 0.8
        assert cosine == pytest.approx(vectors[place[own]] @ vectors[place[cluster]], abs=1e-6)
        assert size == clusters.count(cluster) + (cluster not in leaders)
    assert 1 < len(set(clusters)) < 120


def on_circle(*degrees: float) -> np.ndarray:
    angles = np.deg2rad(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def test_onepass_cluster_of_parts_clusters_rows_again_that_lost_their_leader() -> None:
    """Where the second row leads the last two in a part, and then joins the first, they are left over."""
    config = Config(threshold=float(np.cos(np.deg2rad(7.5))), single_pass_rows=2)
    table = table_with(on_circle(0, 6.9, 14, 14.3), ["a" * (4 - i) for i in range(4)])
    left_over = 0
    for attempt in range(40):  # of ids, and so of parts
        ids = [digest(attempt, i) for i in range(4)]
        out = run_local(STAGE, set_column(table, "id", pa.array(ids)), config)
        first, second, third, fourth = out["cluster"].to_pylist()
        assert first == second == ids[0]
        assert third == fourth
        assert third in ids[2:]
        parts = [digest64("part", i) % 2 for i in ids]
        if parts[0] != parts[1] == parts[2] == parts[3]:
            left_over += 1
            assert third == ids[2]
    assert left_over > 0


def test_onepass_cluster_cuts_parts_of_about_the_rows_of_a_pass_by_id_alone() -> None:
    table = table_with(np.eye(1, 4).repeat(400, axis=0))
    table = table.append_column("row", pa.array(np.arange(400))).append_column(
        "owned", pa.array([False] * 400)
    )
    context = Context(STAGE, "f", 0, fitted=Fitted(values={"parts": 4}))
    part = {}
    for rows in (table, shuffled(table, 1), table.slice(100, 50)):
        keyed = part_keys(rows, Config(), context)
        keys = dict(zip(keyed["id"].to_pylist(), keyed["key"].to_pylist(), strict=True))
        part = part or keys
        assert keys.items() <= part.items()
    sizes = np.bincount(list(part.values()))
    assert len(sizes) == 4
    assert 70 < sizes.min() <= sizes.max() < 130


@pytest.mark.parametrize("part_rows", [1000, 2])
def test_onepass_cluster_against_owned_rows_that_are_alike_joins_any_of_them(part_rows: int) -> None:
    owned = owned_of(table_with(on_circle(0, 10), ["longer", "short"]), 0, 2)
    config = Config(single_pass_rows=part_rows)
    out = run_local(STAGE, table_with(on_circle(12)), config, owned=owned)
    assert out["cluster"].to_pylist() == [digest("owned", 1)]


def test_onepass_cluster_keeping_leaders_drops_the_rest_with_leader_and_cosine() -> None:
    vectors = np.array([[1, 0], [0.8, 0.6], [0, 1], [0, 1]])
    table = table_with(vectors, ["the longest answer", "short", "短", "长一点的回答"])
    ids = table["id"].to_pylist()
    out = run_local(STAGE, table, Config(threshold=0.75, keep="leaders"))
    assert marks(out) == {
        ids[0]: (None, None),
        ids[1]: ("not_a_leader", f"{ids[0]} 0.8000"),
        ids[2]: ("not_a_leader", f"{ids[3]} 1.0000"),
        ids[3]: (None, None),
    }
    assert out["drop_stage"].to_pylist() == [None, STAGE, STAGE, None]
    assert rules_of(run_local(STAGE, table, Config(threshold=0.75))) == [None] * 4


def test_onepass_cluster_lets_the_preferred_rows_lead() -> None:
    table = table_with(np.eye(1, 4).repeat(3, axis=0), ["short", "the longest of all", "middling"])
    table = set_column(table, "quality", pa.array([0.1, 0.2, 0.9]))
    ids = table["id"].to_pylist()
    assert set(run_local(STAGE, table, Config())["cluster"].to_pylist()) == {ids[1]}
    assert set(run_local(STAGE, table, Config(prefer="quality"))["cluster"].to_pylist()) == {ids[2]}


def test_onepass_cluster_joins_the_most_similar_leader_not_the_first() -> None:
    vectors = np.array([[1, 0], [0.5, np.sqrt(0.75)], [0.8, 0.6]])
    table = table_with(vectors, ["long long", "long", ""])
    assert run_local(STAGE, table, Config(threshold=0.6))["cluster"][2].as_py() == table["id"][1].as_py()


@pytest.mark.parametrize("part_rows", [1000, 2])
def test_onepass_cluster_against_owned_rows_lets_them_lead_and_leaves_them_alone(part_rows: int) -> None:
    vectors = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    new = table_with(vectors, ["a very long answer, longer than all", "x", "y", "z"])
    owned = owned_of(table_with(vectors[[1, 1, 2]], ["a", "a", "a"]), 0, 3)
    config = Config(keep="leaders", single_pass_rows=part_rows)
    out = run_local(STAGE, new, config, owned=owned)
    assert len(out) == 4
    first = min(digest("owned", 0), digest("owned", 1))
    assert [cluster for cluster, _, _ in found_in(out).values()][:3] == [first, first, digest("owned", 2)]
    assert rules_of(out) == ["not_a_leader"] * 3 + [None]
    assert out["drop_detail"][0].as_py() == f"{first} 1.0000"
    assert out["cluster_size"].to_pylist() == [3, 3, 2, 1]


def test_onepass_cluster_of_rows_without_vectors_are_clusters_of_their_own() -> None:
    table = table_of([("a",), ("b",), ("乙",)])
    vectors = pa.array([None, [1, 0, 0, 0], None], pa.list_(pa.float32(), 4))
    for column in (vectors, pa.nulls(3, vectors.type)):
        for part_rows in (1, 100):
            config = Config(vectors="tfidf", keep="leaders", single_pass_rows=part_rows)
            out = run_local(STAGE, set_column(table, "tfidf", column), config)
            assert out["cluster"].to_pylist() == out["id"].to_pylist()
            assert out["cluster_cosine"].is_valid().to_pylist() == column.is_valid().to_pylist()
            assert out["cluster_size"].to_pylist() == [1, 1, 1]
            assert rules_of(out) == [None] * 3


@pytest.mark.parametrize("rows", [0, 1, 9])
@pytest.mark.parametrize("part_rows", [4, 100])
def test_onepass_cluster_of_no_or_one_or_identical_rows_has_one_leader(rows: int, part_rows: int) -> None:
    table = table_with(np.repeat(unit_rows(1, 8, 1), rows, axis=0))
    out = run_local(STAGE, table, Config(threshold=1, keep="leaders", single_pass_rows=part_rows))
    assert rules_of(out).count(None) == min(rows, 1)
    assert out.select(ADDS).schema.types == [pa.string(), pa.float64(), pa.int64()]
    assert out["cluster_size"].to_pylist() == [rows] * rows


def test_onepass_cluster_of_dropped_rows_says_nothing() -> None:
    table = mark_dropped(table_with(np.eye(1, 4).repeat(3, axis=0)), "x", [None, "r", None])
    out = run_local(STAGE, table, Config())
    assert out["cluster"].is_valid().to_pylist() == [True, False, True]
    assert out["cluster_size"].to_pylist() == [2, None, 2]


def test_onepass_cluster_by_a_column_of_no_vectors_is_refused() -> None:
    with pytest.raises(ValueError, match=r"column messages is list<.*fixed_size_list<float32>"):
        run_local(STAGE, table_of([("a",), ("b",)]), Config(vectors="messages"))


def test_onepass_cluster_of_both_languages_by_words_finds_who_says_the_same() -> None:
    questions = [
        "How do I boil rice?",
        "how do I boil the rice",
        "怎么煮米饭？",
        "米饭怎么煮",
        "Name a fish.",
    ]
    table = run_local("curate.tfidf", table_of([(q,) for q in questions]), tfidf.Config(weights="counts"))
    out = run_local(STAGE, table, Config(vectors="tfidf", threshold=0.6))
    leaders = [questions[table["id"].to_pylist().index(c)] for c in out["cluster"].to_pylist()]
    assert leaders[0] == leaders[1] != leaders[2] == leaders[3] != leaders[4] == questions[4]


@pytest.mark.parametrize("keep", ["all", "leaders"])
def test_findings_tell_number_and_sizes_of_clusters(keep: str) -> None:
    vectors = np.concatenate([np.eye(4, 6), np.eye(4, 6)[[0, 0, 1]]])
    told = findings(table_with(vectors), Config(keep=keep))
    assert told == {
        "rows": 7,
        "clusters": 4,
        "rows in the largest": 3,
        "in the median": 1.5,
        "clusters of one row": 2,
        "of them without a vector": 0,
        "rows that joined owned ones": 0,
        "found by": "one pass",
    }


def test_findings_of_no_rows_and_of_parts_say_so() -> None:
    told = findings(table_with(np.zeros((0, 4))), Config(), parts=3)
    assert (told["clusters"], told["rows in the largest"], told["in the median"]) == (0, 0, None)
    assert told["found by"] == "leaders of 3 parts, then leaders among those"
