import itertools
import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from raysft.curate.k_center import STEPS, Config
from raysft.executor import run_local
from raysft.sample import digest64, set_column
from raysft.stage import Context, Fit, Fitted
from tests.algorithms.test_k_center import plain_k_center, smallest_radius
from tests.curate.test_semantic_dedup import table_with
from tests.fixtures.conversations import marks, rules_of, shuffled, table_of

STAGE = "curate.k_center"


def with_some_vectors(vectors: list[list[float] | None], langs: list[str | None] | None = None) -> pa.Table:
    """Conversations in English and Chinese in turn, with these vectors; None for one that cannot be read."""
    texts = [
        ("Name a fruit.", "An apple.") if i % 2 == 0 else ("说出一种水果。", "苹果。")
        for i in range(len(vectors))
    ]
    dimension = next((len(v) for v in vectors if v is not None), 2)
    table = set_column(table_of(texts), "embedding", pa.array(vectors, pa.list_(pa.float32(), dimension)))
    langs = langs or [("en", "zh")[i % 2] for i in range(len(vectors))]
    return set_column(table, "lang", pa.array(langs, pa.string()))


def random_vectors(rows: int, dimension: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, dimension)).astype(np.float32)


def by_rank(table: pa.Table) -> list[int]:
    """Positions of the chosen rows, in the order of choice."""
    ranks = table["center_rank"].to_pylist()
    found = sorted((rank, i) for i, rank in enumerate(ranks) if rank is not None)
    assert [rank for rank, _ in found] == list(range(len(found)))
    return [i for _, i in found]


def told(table: pa.Table) -> dict[str, tuple]:
    """All that the stage says of each row, by id."""
    names = ("drop_rule", "drop_detail", "center_rank", "center_distance", "nearest_center")
    return dict(
        zip(table["id"].to_pylist(), zip(*(table[n].to_pylist() for n in names), strict=True), strict=True)
    )


def findings_of(table: pa.Table, config: Config, **options) -> tuple[dict[str, dict], list[str]]:
    """The stage's findings, by title and first column, and its notes, seen by a Fit behind its steps."""
    seen: list[Fitted] = []
    real = STEPS[-2].fn

    def watching(rows: pa.Table, config: Config, context: Context) -> Fitted:
        seen.append(real(rows, config, context))
        return seen[-1]

    object.__setattr__(STEPS[-2], "fn", watching)
    try:
        run_local(STAGE, table, config, **options)
    finally:
        object.__setattr__(STEPS[-2], "fn", real)
    values = json.loads(json.dumps(seen[0].values))
    found = {f["title"]: {line[0]: line[1:] for line in f["rows"]} for f in values["findings"]}
    return found, values["notes"]


def test_k_center_keeps_rows_far_apart_and_says_what_covers_the_others() -> None:
    vectors = np.eye(3).repeat([6, 3, 1], axis=0)
    out = run_local(STAGE, table_with(vectors), Config(budget=3))
    chosen = by_rank(out)
    assert sorted(vectors[chosen].argmax(axis=1).tolist()) == [0, 1, 2]
    ids = out["id"].to_pylist()
    for i, (rule, detail, rank, distance, nearest) in enumerate(told(out).values()):
        assert (rule is None) == (i in chosen) == (rank is not None)
        assert distance == 0
        assert np.array_equal(vectors[ids.index(nearest)], vectors[i])
        if rule:
            assert (rule, detail) == ("not_a_center", f"0.0000 from {nearest}")
    assert set(out["drop_stage"].drop_null().to_pylist()) == {STAGE}


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(0, 45), st.integers(0, 99), st.data())
def test_k_center_chooses_as_the_plain_loop_from_the_smallest_digest_on(rows, budget, seed, data) -> None:
    vectors = np.float32(np.random.default_rng(seed).integers(-2, 3, (rows, 3)))
    radius = data.draw(st.sampled_from([None, 0.0, 1.0, 2.5]))
    table = table_with(vectors)
    out = run_local(STAGE, table, Config(budget=budget, radius=radius), seed=seed)
    lots = np.array([digest64(seed, STAGE, i) for i in table["id"].to_pylist()], np.uint64)
    order = np.argsort(lots)
    if radius is None and budget >= rows:
        assert by_rank(out) == order.tolist()
    else:
        centres, _ = plain_k_center(vectors[order], min(budget, rows), -1 if radius is None else radius)
        assert by_rank(out) == order[centres].tolist()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 30), st.integers(1, 6), st.sampled_from([1 << 30, 100]), st.integers(0, 9), st.data())
def test_k_center_in_any_order_and_partitions_decides_alike(rows, partitions, size, seed, data) -> None:
    vectors = [v.tolist() if data.draw(st.integers(0, 3)) else None for v in random_vectors(rows, 2, seed)]
    radius, quotas = data.draw(st.sampled_from([None, 0.8])), data.draw(st.sampled_from([{}, {"zh": 1}]))
    config = Config(
        budget=3, radius=radius, exact_bytes=size, quotas=quotas, quota_column="lang" if quotas else None
    )
    table = with_some_vectors(vectors)
    expected = told(run_local(STAGE, table, config, partitions=1))
    assert told(run_local(STAGE, shuffled(table, seed), config, partitions=partitions)) == expected


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12), st.integers(1, 3), st.booleans(), st.integers(0, 10**6))
def test_k_center_in_one_or_two_rounds_is_within_its_factor(rows, k, in_parts, seed) -> None:
    vectors = random_vectors(rows, 2, seed)
    size = 8 * max(k, rows // 2)  # in parts of about half of the rows, and what these choose fits into one
    config = Config(budget=k, exact_bytes=size if in_parts else 1 << 20, keep="all")
    assume(not in_parts or 8 * rows > size >= 8 * 3 * k)
    out = run_local(STAGE, table_with(vectors), config)
    distance = np.linalg.norm(vectors[:, None] - vectors[by_rank(out)][None], axis=2).min(axis=1)
    assert np.allclose(out["center_distance"].to_numpy(), distance, atol=1e-6)
    best = smallest_radius(vectors, min(k, rows), vectors[:0])
    assert distance.max() <= (4 if in_parts else 2) * best + 1e-5


def test_k_center_with_a_radius_stops_once_all_rows_are_within_it() -> None:
    vectors = random_vectors(200, 2)
    table = table_with(vectors)
    few, many = (run_local(STAGE, table, Config(radius=r, keep="all")) for r in (1.5, 0.5))
    assert max(few["center_distance"].to_pylist()) <= 1.5
    assert max(many["center_distance"].to_pylist()) <= 0.5
    assert 1 < len(by_rank(few)) < len(by_rank(many)) < 200
    assert by_rank(many)[: len(by_rank(few))] == by_rank(few)
    assert len(by_rank(run_local(STAGE, table, Config(radius=0.5, budget=5)))) == 5


@pytest.mark.parametrize("rows", [150, 250])
def test_k_center_in_two_rounds_with_a_radius_covers_all_rows_within_it(rows: int) -> None:
    vectors = random_vectors(rows, 2)
    config = Config(radius=1.0, keep="all", exact_bytes=100 * 8)
    out = run_local(STAGE, table_with(vectors), config, partitions=2)
    assert max(out["center_distance"].to_pylist()) <= 1.0
    assert len(by_rank(out)) < rows


def test_k_center_beside_owned_rows_takes_what_is_far_from_them_and_never_decides_on_them() -> None:
    table = table_with(np.array([[0.0], [1.0], [5.0], [6.0], [10.0]]))
    owned = set_column(table_with(np.array([[6.0], [10.0]])), "id", pa.array(["own six", "own ten"]))
    out = run_local(STAGE, table, Config(budget=1, against=("earlier",)), owned=owned)
    assert by_rank(out) == [0]
    assert [detail for _, detail in marks(out).values()][1:] == [
        f"1.0000 from {out['id'][0]}",
        "1.0000 from own six",
        "0.0000 from own six",
        "0.0000 from own ten",
    ]
    covered = run_local(STAGE, table, Config(radius=1, against=("earlier",)), owned=owned)
    assert by_rank(covered) == [0]
    all_there = run_local(STAGE, table.slice(2), Config(radius=1, against=("earlier",)), owned=owned)
    assert rules_of(all_there) == ["not_a_center"] * 3


def test_k_center_in_two_rounds_beside_owned_rows_takes_none_that_they_cover() -> None:
    vectors = np.concatenate([random_vectors(60, 2) * 0.01, random_vectors(60, 2, 1) * 0.01 + 9])
    owned = set_column(table_with(vectors[:1]), "id", pa.array(["own"]))
    config = Config(budget=5, radius=0.5, exact_bytes=8 * 20, against=("earlier",))
    out = run_local(STAGE, table_with(vectors), config, owned=owned)
    assert len(by_rank(out)) == 1
    assert by_rank(out)[0] >= 60


def test_k_center_with_quotas_takes_the_farthest_row_whose_value_is_not_full() -> None:
    vectors = [[float(i)] for i in range(20)]
    table = with_some_vectors(vectors, ["zh"] * 10 + ["en"] * 10)
    out = run_local(STAGE, table, Config(budget=6, quota_column="lang", quotas={"zh": 1, "en": 0.5}))
    chosen = [table["lang"][i].as_py() for i in by_rank(out)]
    assert (chosen.count("zh"), chosen.count("en")) == (1, 3)
    none = run_local(STAGE, table, Config(budget=6, quota_column="lang", quotas={"zh": 0}))
    assert {table["lang"][i].as_py() for i in by_rank(none)} == {"en"}
    assert len(by_rank(none)) == 6


def test_k_center_with_quotas_of_numbers_and_nulls_takes_them_as_texts_and_as_others() -> None:
    table = with_some_vectors([[float(i)] for i in range(6)])
    table = set_column(table, "round", pa.array([1, 1, 1, 2, None, None], pa.int32()))
    out = run_local(STAGE, table, Config(budget=9, quota_column="round", quotas={"1": 1, "2": 0}))
    assert [table["round"][i].as_py() for i in sorted(by_rank(out))] == [1, None, None]


def test_k_center_with_quotas_over_lists_is_refused() -> None:
    config = Config(budget=1, quota_column="parents", quotas={"a": 1})
    with pytest.raises(ValueError, match=r"quota_column: parents is list<.*; quotas are by texts"):
        run_local(STAGE, with_some_vectors([[1.0]]), config)


def test_k_center_gives_rows_without_a_vector_their_share_behind_the_centers() -> None:
    vectors = [None if i % 3 == 0 else [float(i), 1.0] for i in range(30)]
    out = run_local(STAGE, with_some_vectors(vectors), Config(budget=6))
    chosen = by_rank(out)
    assert [vectors[i] is None for i in chosen] == [False] * 4 + [True] * 2
    lots = {i: digest64(0, STAGE, out["id"][i].as_py()) for i in range(0, 30, 3)}
    assert chosen[4:] == sorted(lots, key=lots.__getitem__)[:2]
    left_out = [line for line in told(out).values() if line[0] == "not_drawn"]
    assert left_out == [("not_drawn", "no vector; not among the 2 of 10 drawn", None, None, None)] * 8
    none = run_local(STAGE, with_some_vectors([None] * 5), Config(budget=3))
    assert sorted(rules_of(none), key=str) == [None] * 3 + ["not_drawn"] * 2


def test_k_center_to_a_radius_alone_keeps_all_rows_without_a_vector() -> None:
    out = run_local(STAGE, with_some_vectors([None, [1.0, 0.0], None, [1.0, 0.0]]), Config(radius=0.5))
    assert sorted(rules_of(out), key=str) == [None, None, None, "not_a_center"]


def test_k_center_with_quotas_fills_those_of_values_without_vectors_by_digest() -> None:
    vectors = [None if i % 2 else [float(i), 1.0] for i in range(40)]  # an embedder that reads no Chinese
    out = run_local(
        STAGE,
        with_some_vectors(vectors),
        Config(budget=10, quota_column="lang", quotas={"zh": 0.5, "en": 0.5}),
    )
    chosen = [out["lang"][i].as_py() for i in by_rank(out)]
    assert chosen == ["en"] * 5 + ["zh"] * 5


def test_k_center_that_keeps_all_drops_none_and_tells_the_same() -> None:
    table = with_some_vectors([[float(i)] if i % 4 else None for i in range(24)])
    kept, dropped = (
        told(run_local(STAGE, table, Config(budget=5, keep=keep))) for keep in ("all", "centers")
    )
    assert {line[:2] for line in kept.values()} == {(None, None)}
    assert {i: line[2:] for i, line in kept.items()} == {i: line[2:] for i, line in dropped.items()}


@pytest.mark.parametrize("config", [Config(budget=4), Config(radius=0.5), Config(budget=0)])
def test_k_center_of_no_rows_is_empty(config: Config) -> None:
    out = run_local(STAGE, table_with(np.zeros((0, 4))), config)
    assert len(out) == 0
    assert [str(out.schema.field(n).type) for n in ("center_rank", "center_distance", "nearest_center")] == [
        "int64",
        "float",
        "string",
    ]


def test_k_center_with_a_budget_of_nothing_drops_all() -> None:
    out = run_local(STAGE, with_some_vectors([[1.0], None]), Config(budget=0))
    assert list(marks(out).values()) == [
        ("not_a_center", "no center in the budget"),
        ("not_drawn", "no vector; not among the 0 of 1 drawn"),
    ]
    assert out["center_distance"].to_pylist() == [None, None]


def test_k_center_of_identical_vectors_fills_the_budget_and_needs_one_for_a_radius() -> None:
    table = table_with(np.ones((9, 3)))
    assert len(by_rank(run_local(STAGE, table, Config(budget=4)))) == 4
    assert len(by_rank(run_local(STAGE, table, Config(radius=0)))) == 1


def test_k_center_of_one_row_chooses_it() -> None:
    out = run_local(STAGE, table_with(np.ones((1, 3))), Config(budget=1))
    assert list(told(out).values()) == [(None, None, 0, 0.0, out["id"][0].as_py())]


def test_k_center_depends_on_the_seed() -> None:
    table = table_with(random_vectors(40))
    first = [by_rank(run_local(STAGE, table, Config(budget=3), seed=seed)) for seed in (0, 0, 1)]
    assert first[0] == first[1] != first[2]


def test_k_center_reads_the_column_of_vectors_that_it_is_told() -> None:
    table = table_with(np.ones((4, 2)))
    other = pa.FixedSizeListArray.from_arrays(pa.array(np.eye(4, dtype=np.float32).ravel()), 4)
    table = set_column(table, "other", other)
    assert len(by_rank(run_local(STAGE, table, Config(radius=0.5, vectors="other")))) == 4
    with pytest.raises(ValueError, match="column lang is string; vectors are"):
        run_local(STAGE, with_some_vectors([[1.0]]), Config(radius=0.5, vectors="lang"))


def test_k_center_tells_what_it_found() -> None:
    table = with_some_vectors([[float(i)] if i < 25 else None for i in range(30)])
    found, notes = findings_of(table, Config(budget=6))
    assert found["Centers"] == {
        "rows with a vector": [25],
        "owned rows, centers from the start": [0],
        "centers chosen": [5],
        "covering radius": found["Centers"]["covering radius"],
        "radius asked for": [None],
        "chosen": ["exactly"],
        "factor that holds": ["at most 2 × the smallest radius"],
        "rows without a vector": [5],
        "of these drawn": [1],
    }
    out = run_local(STAGE, table, Config(budget=6, keep="all"))
    radius = max(d for d in out["center_distance"].to_pylist() if d is not None)
    assert found["Centers"]["covering radius"] == [radius]
    assert notes == [f"5 centers, chosen exactly, of 25 rows: all within {radius:.4f}"]


def test_k_center_tells_of_two_rounds_and_of_quotas_that_were_not_filled() -> None:
    table = with_some_vectors([[float(i)] for i in range(30)])
    config = Config(budget=8, quota_column="lang", quotas={"zh": 0.5, "fr": 3}, exact_bytes=4 * 16)
    found, notes = findings_of(table, config)
    assert found["Centers"]["chosen"] == ["in two rounds over 2 parts"]
    assert found["Centers"]["factor that holds"] == ["none, with quotas"]
    assert found["Quotas of lang"] == {"fr": [3, 0, 0, 3], "zh": [4, 15, 3, 1]}
    assert notes[0].startswith("8 centers, chosen in two rounds over 2 parts, of 30 rows: all within ")
    assert findings_of(table_with(np.zeros((0, 2))), Config(budget=1))[1] == [
        "0 centers, chosen exactly, of 0 rows: nothing to cover"
    ]


def test_k_center_with_more_centers_or_owned_rows_than_a_task_may_hold_is_refused() -> None:
    table = table_with(random_vectors(60, 2))
    for config, what in (
        (Config(budget=15, exact_bytes=160), "15 centers from each of 3 parts are 45 vectors of 360 bytes"),
        (Config(radius=0, exact_bytes=160), "the centers of all parts are 60 vectors of 480 bytes"),
    ):
        with pytest.raises(ValueError, match=f"exact_bytes: {what}, more than the 160 that one task may"):
            run_local(STAGE, table, config)
    with pytest.raises(ValueError, match="exact_bytes: the owned rows are 60 vectors"):
        run_local(STAGE, table, Config(budget=2, exact_bytes=160, against=("earlier",)), owned=table)


def test_k_center_says_only_once_what_its_fits_found() -> None:
    assert [step.fn.__name__ for step in STEPS if isinstance(step, Fit)] == [
        "share",
        "hold_owned",
        "choose",
        "report",
    ]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "budget and radius are both unset"),
        ({"budget": 1, "quotas": {"en": 1}}, "quotas and quota_column go together"),
        ({"budget": 1, "quota_column": "lang"}, "quotas and quota_column go together"),
        ({"budget": 1, "quota_column": "lang", "quotas": {"en": -1}}, "en has -1; allowed: a whole number"),
        ({"budget": 1, "quota_column": "lang", "quotas": {"zh": 1.5}}, "zh has 1.5; allowed: a whole number"),
        (
            {"radius": 1, "quota_column": "lang", "quotas": {"zh": 0.5}},
            "zh has 0.5 of a budget that is unset",
        ),
        ({"radius": -1}, "radius"),
        ({"budget": 2, "keep": "none"}, "keep"),
        ({"budget": 2, "exact_bytes": 0}, "exact_bytes"),
    ],
)
def test_k_center_config_without_an_end_or_sense_is_refused(given: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Config(**given)


def test_k_center_two_rounds_parts_are_of_the_digest_alone() -> None:
    table = table_with(random_vectors(64, 2))
    config = Config(budget=9, exact_bytes=8 * 32, keep="all")
    expected = told(run_local(STAGE, table, config, partitions=1))
    for partitions, seed in itertools.product((2, 7), (1, 2)):
        assert told(run_local(STAGE, shuffled(table, seed), config, partitions=partitions)) == expected
    assert expected != told(run_local(STAGE, table, Config(budget=9, keep="all")))
