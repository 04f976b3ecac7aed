"""Barriers over Ray: done once for the rows they saw, done again for others, and bounded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import ray

from raysft import executor
from raysft import stage as stages
from raysft.runtime import barrier, chain, work
from raysft.runtime.barrier import GatherTooLarge, run_barriers, with_cause
from raysft.runtime.capacity import Capacity
from raysft.runtime.passes import Pass
from raysft.runtime.storage import Storage
from raysft.runtime.work import WorkShard
from raysft.stage import Context, Fitted, Map, apply_map
from tests.fixtures.conversations import table_of
from tests.runtime.passes import SEED, a_pass, acquired

TALK = ("Name a sea.", "The Baltic Sea.")
OTHER = ("Name a lake.", "Lake Ladoga.")


def dedup(stage: str) -> Pass:
    """The last pass of a stage: its barriers, behind whatever maps it begins with."""
    steps = stages.load(stage).STEPS
    barriers = tuple(i for i, step in enumerate(steps) if not isinstance(step, Map))
    return replace(a_pass(stage, 1, maps=()), barriers=barriers)


def shards_of(storage: Storage, p: Pass, *talks: tuple[str, str]) -> list[WorkShard]:
    """Shards of two rows, with what the stage's maps add."""
    table = table_of(talks)
    for step in p.steps:
        if isinstance(step, Map):
            table = apply_map(step, table, p.config, p.context(SEED, Fitted()), p.writes)
    sealed = [acquired(storage, *(table.slice(i, 2) for i in range(0, max(len(table), 1), 2)))]
    return chain.work_shards(sealed, chain.ranges_of(sealed, 2))


def losers(storage: Storage, p: Pass) -> int:
    decisions = work.read_decisions(storage, p.folder)
    assert decisions is not None
    return len(decisions)


def test_barrier_is_done_once_for_the_same_rows(local_ray: Capacity, tmp_path: Path) -> None:
    storage, p = Storage(str(tmp_path)), dedup("curate.exact_dedup")
    shards = shards_of(storage, p, TALK, OTHER, TALK)
    first = run_barriers(storage, p, shards, SEED, 3)
    assert losers(storage, p) == 1
    written = (tmp_path / p.folder / work.BARRIER).stat().st_mtime_ns
    assert run_barriers(storage, p, shards, SEED, 2) == first
    assert (tmp_path / p.folder / work.BARRIER).stat().st_mtime_ns == written
    assert [s.unit for s in first] == [s.unit for s in shards]
    assert not {s.input for s in first} & {s.input for s in shards}


def test_barrier_is_done_again_when_a_shard_was_made_again_with_other_rows(
    local_ray: Capacity, tmp_path: Path
) -> None:
    storage, p = Storage(str(tmp_path)), dedup("curate.exact_dedup")
    before = run_barriers(storage, p, shards_of(storage, p, TALK, OTHER, TALK), SEED, 3)
    after = run_barriers(storage, p, shards_of(storage, p, TALK, OTHER, OTHER), SEED, 3)
    assert losers(storage, p) == 1
    # the first shard holds the same rows, but what was decided about them is not the same
    assert before[0].digest == after[0].digest
    assert before[0].input != after[0].input


def test_barrier_without_any_rows_decides_nothing(local_ray: Capacity, tmp_path: Path) -> None:
    storage, p = Storage(str(tmp_path)), dedup("curate.minhash_dedup")
    run_barriers(storage, p, shards_of(storage, p), SEED, 3)
    assert losers(storage, p) == 0


def test_gather_above_its_cap_says_what_it_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Called here as the task calls it: a patched stage would not travel to a worker."""
    p = dedup("curate.select")
    (gather,) = (step for step in stages.load(p.stage).STEPS if isinstance(step, stages.Gather))
    capped = replace(gather, max_bytes=3 << 20)
    monkeypatch.setattr(stages.load(p.stage), "STEPS", (capped,))
    parts = [pa.table({"id": ["x" * (1 << 21)]}) for _ in range(2)]
    with pytest.raises(GatherTooLarge, match=r"curate.select would gather 4 MiB .* its cap is 3 MiB"):
        barrier._gather._function(p, 0, Context(p.stage, "", SEED), *parts)


def test_error_in_a_barriers_task_is_found_in_rays_wrappings(local_ray: Capacity, tmp_path: Path) -> None:
    storage, p = Storage(str(tmp_path)), dedup("curate.select")
    p = replace(p, config=stages.load(p.stage).Config(where="perplexity < 3"))
    with pytest.raises(Exception, match="perplexity") as error:
        run_barriers(storage, p, shards_of(storage, p, TALK, OTHER), SEED, 3)
    assert type(with_cause(error.value)) is KeyError
    assert work.read_marker(storage, p.folder) is None


@pytest.mark.parametrize("partitions", [1, 3])
def test_components_are_the_same_in_one_task_and_in_rounds(local_ray: Capacity, partitions: int) -> None:
    drawn = np.random.Generator(np.random.PCG64(3)).integers(0, 60, (2, 40)) << 32
    edges = pa.table({"row": drawn[0], "other": drawn[1]}).filter(pa.array(drawn[0] != drawn[1]))
    refs = [ray.put(edges.slice(0, 25)), ray.put(edges.slice(25))]
    whole = ray.get(barrier.connect(refs, 1000, partitions))
    assert whole == executor.components_of(edges)
    assert len(np.unique(whole["component"].to_numpy())) > 3
    assert ray.get(barrier.connect(refs, 10, partitions)) == whole


def test_components_of_no_edges_are_none(local_ray: Capacity) -> None:
    none = pa.table({"row": pa.array([], pa.int64()), "other": pa.array([], pa.int64())})
    for cap in (0, -1):  # in one task, and in rounds
        assert len(ray.get(barrier.connect([ray.put(none)], cap, 2))) == 0
