"""Work shards over a chain of sealed stages: every row is covered once, however each stage was cut."""

from pathlib import Path

import pyarrow as pa
import pytest

from raysft.executor import run_local
from raysft.runtime import chain
from raysft.runtime.storage import Storage
from raysft.runtime.work import advance
from raysft.sample import SCHEMA
from tests.fixtures.conversations import table_of
from tests.fixtures.fake_llm import ScriptedLLM
from tests.fixtures.fake_models import HashEmbedder, LengthScorer
from tests.runtime.passes import SEED, a_pass, acquired, rows_after, run


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path))


def talks(first: int, n: int) -> pa.Table:
    """Conversations of which every fifth is a refusal."""
    answers = ("Sorry, I cannot help with that.", "It is a fine town by the sea.")
    rows = [(f"Tell me of town number {first + i}.", answers[(first + i) % 5 > 0]) for i in range(n)]
    table = table_of([("", "")] * first + rows)
    return table.slice(first)


@pytest.mark.parametrize(("first", "second", "third"), [(10, 7, 1000), (7, 10, 3), (1, 4, 5), (1000, 1, 6)])
def test_sidecars_over_ranges_of_different_sizes_lie_over_their_own_rows(
    storage: Storage, first: int, second: int, third: int
) -> None:
    sealed = [acquired(storage, talks(0, 23), talks(23, 12), talks(35, 1))]
    rules = a_pass("curate.rules", 1, rows_per_shard=first)
    embed = a_pass("curate.embed", 2, rows_per_shard=second, engine="e")
    score = a_pass("curate.perplexity", 3, rows_per_shard=third, engine="s")
    expected = rows_after(storage, sealed)
    for p, engine in ((rules, None), (embed, HashEmbedder()), (score, LengthScorer())):
        sealed, shards = run(storage, sealed, [p], engine)
        assert len(shards) == sum(-(-n // p.config.rows_per_shard) for n in (23, 12, 1))
        expected = run_local(p.stage, expected, p.config, engines={"e": HashEmbedder(), "s": LengthScorer()})
        for size in (1, 4, 9, 1000):
            assert rows_after(storage, sealed, size).to_pylist() == expected.to_pylist()


def test_rows_written_end_the_sidecars_before_them(storage: Storage) -> None:
    sealed = [acquired(storage, table_of([(f"What is in box number {i}?",) for i in range(9)]))]
    sealed, _ = run(
        storage, sealed, [a_pass("curate.embed", 1, rows_per_shard=2, engine="e")], HashEmbedder()
    )
    before = rows_after(storage, sealed)
    respond = a_pass("augment.respond", 2, rows_per_shard=4, engine="l")
    sealed, _ = run(storage, sealed, [respond], ScriptedLLM())
    base, sidecars = chain.split(sealed)
    assert (base.stage, sidecars) == ("augment.respond", [])
    assert [s.unit for s in base.shards] == [
        "00000-00000000-00000004",
        "00000-00000004-00000008",
        "00000-00000008-00000009",
    ]
    made = run_local(
        "augment.respond",
        before,
        respond.config,
        engines={"l": ScriptedLLM()},
        seed=SEED,
        fingerprint=respond.stage_fingerprint,
    )
    assert sorted(rows_after(storage, sealed)["id"].to_pylist()) == sorted(made["id"].to_pylist())


def test_empty_shard_passes_through_every_kind_of_stage(storage: Storage) -> None:
    sealed = [acquired(storage, SCHEMA.empty_table(), talks(0, 3), SCHEMA.empty_table())]
    sealed, shards = run(storage, sealed, [a_pass("curate.rules", 1)])
    assert [s.base.stop for s in shards] == [0, 3, 0]
    embedder = HashEmbedder()
    sealed, _ = run(storage, sealed, [a_pass("curate.embed", 2, engine="e", rows_per_shard=2)], embedder)
    sealed, _ = run(storage, sealed, [a_pass("augment.respond", 3, engine="l")], ScriptedLLM())
    assert [s.rows for s in sealed[-1].shards] == [0, 2, 0]
    assert {"embedding", "answer_chars"} <= set(rows_after(storage, sealed).column_names)


def test_ranges_cover_each_base_shard_in_order(storage: Storage) -> None:
    sealed = [acquired(storage, talks(0, 5), SCHEMA.empty_table(), talks(5, 2))]
    assert chain.ranges_of(sealed, 2) == [
        ("00000-00000000-00000002", "00000", 0, 2),
        ("00000-00000002-00000004", "00000", 2, 4),
        ("00000-00000004-00000005", "00000", 4, 5),
        ("00001-00000000-00000000", "00001", 0, 0),
        ("00002-00000000-00000002", "00002", 0, 2),
    ]


def test_ranges_that_a_segment_began_with_are_kept_when_sizes_change(storage: Storage) -> None:
    sealed = [acquired(storage, talks(0, 10))]
    began = chain.plan_ranges(storage, sealed, [a_pass("curate.rules", 1, rows_per_shard=4)])
    changed = a_pass("curate.rules", 1, rows_per_shard=3)
    assert chain.plan_ranges(storage, sealed, [changed]) == began
    other = a_pass("curate.rules", 2, rows_per_shard=3)
    assert [stop for *_, stop in chain.plan_ranges(storage, sealed, [other])] == [3, 6, 9, 10]


def test_ranges_are_made_anew_when_a_shard_was_made_again_with_more_rows(storage: Storage) -> None:
    p = a_pass("curate.rules", 1, rows_per_shard=4)
    chain.plan_ranges(storage, [acquired(storage, talks(0, 10))], [p])
    grown = [acquired(storage, talks(0, 13))]
    assert [stop for *_, stop in chain.plan_ranges(storage, grown, [p])] == [4, 8, 12, 13]
    shrunk = [acquired(storage, talks(0, 7))]
    assert [stop for *_, stop in chain.plan_ranges(storage, shrunk, [p])] == [4, 7]


def test_ranges_behind_a_stage_that_wrote_rows_take_its_shards_whole(storage: Storage) -> None:
    sealed = [acquired(storage, table_of([(f"How far is it to town {i}?",) for i in range(6)]))]
    respond = a_pass("augment.respond", 1, rows_per_shard=4, engine="l")
    rules = a_pass("curate.rules", 2, rows_per_shard=1)
    sealed, _ = run(storage, sealed, [respond, rules], ScriptedLLM())
    kept = chain.plan_ranges(storage, sealed[:-1], [rules])
    assert kept == [(r.unit, r.unit, 0, None) for r in sealed[1].shards]
    assert [(s.unit, s.base) for s in sealed[2].shards] == [
        (s.unit, (s.name, 0, s.rows)) for s in sealed[1].shards
    ]


def test_is_done_trusts_no_record_made_from_other_rows(storage: Storage) -> None:
    p, q = a_pass("curate.rules", 1, rows_per_shard=4), a_pass("curate.embed", 2, engine="e")
    sealed = [acquired(storage, talks(0, 8), talks(8, 4))]
    done, shards = run(storage, sealed, [p, q], HashEmbedder())
    records = {m.folder: {r.unit: r for r in m.shards} for m in done}
    assert [chain.is_done(s, [p, q], records) for s in shards] == [True, True, True]
    superseded = [acquired(storage, talks(0, 8), talks(50, 4))]
    again = chain.work_shards(superseded, chain.plan_ranges(storage, superseded, [p, q]))
    assert [s.unit for s in again] == [s.unit for s in shards]
    # made again under another name, so sidecars beside the old ones do not count, even for equal rows
    assert [chain.is_done(s, [p, q], records) for s in again] == [False, False, False]
    del records[q.folder][shards[0].unit]
    assert [chain.is_done(s, [p, q], records) for s in shards] == [False, True, True]


def test_work_shards_of_sealed_stages_are_those_a_segment_went_on_with(storage: Storage) -> None:
    """Else a run that stopped between two seals would do the second stage anew."""
    passes = [
        a_pass("augment.respond", 1, rows_per_shard=3, engine="l"),
        a_pass("curate.rules", 2),
        a_pass("curate.perplexity", 3, engine="s"),
    ]
    start = [acquired(storage, table_of([(f"How far is it to town {i}?",) for i in range(7)]))]
    sealed, shards = run(storage, start, passes[:1], ScriptedLLM())
    sealed, _ = run(storage, sealed, passes[1:2])
    sealed, _ = run(storage, sealed, passes[2:], LengthScorer())
    for i in range(len(passes)):
        went_on = shards
        for p, m in zip(passes[:i], sealed[1 : i + 1], strict=True):
            went_on = [advance(shard, p, r) for shard, r in zip(went_on, m.shards, strict=True)]
        begun = chain.work_shards(sealed[: i + 1], chain.plan_ranges(storage, sealed[: i + 1], passes[i:]))
        assert [(s.digest, s.base, s.sidecars) for s in begun] == [
            (s.digest, s.base, s.sidecars) for s in went_on
        ]
