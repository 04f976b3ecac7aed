"""Nodes that join and leave while a run works on a mini-cluster: its engines spread to those that come, and
what a lost one had under way is done again, with every row there once."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from cluster import mini_cluster
from cluster.nodes import Shape
from cluster.processes import tree
from cluster.record import Cluster, client_variables, read
from raysft import recipe as recipes
from raysft.recipe import Recipe
from raysft.runtime.plan import make_plan
from raysft.runtime.run import sealed_of
from raysft.runtime.storage import Storage
from tests.fixtures.engines import model_folder
from tests.fixtures.held_engines import HOLD, holders, requests_made
from tests.fixtures.runs import rows_of, write_conversations

ROOT = Path(__file__).resolve().parents[2]
ROWS, ROWS_PER_SHARD = 400, 10
ENGINE_CPUS, NODE_CPUS = 5, 8  # so that each node holds one engine
DEADLINE_S = 240  # for machines that do much else
# how soon Ray takes a node for dead that no longer answers: 2 s in place of 15 s and more
NOTICES_SOON = {"RAY_health_check_period_ms": "500", "RAY_health_check_failure_threshold": "4"}


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Path]:
    """The folder of a cluster with a head that offers nothing and one worker."""
    folder = tmp_path / "ray"
    mini_cluster.up(folder, NODE_CPUS, 0, [Shape(NODE_CPUS)], NOTICES_SOON)
    yield folder
    mini_cluster.down(folder)


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    """One request a row, with engines of which one to three may live."""
    source = write_conversations(
        tmp_path / "rows.jsonl", ([f"Describe the way from village {i} to town {i * 7}"] for i in range(ROWS))
    )
    llm = {"kind": "vllm", "model": model_folder(tmp_path / "llm"), "cpus": ENGINE_CPUS}
    settings: dict[str, Any] = {
        "run": "spread",
        "root": str(tmp_path / "runs"),
        "seed": 7,
        "engines": {"llm": {**llm, "replicas": {"min": 1, "max": 3}}},
        "sources": [{"path": str(source)}],
        "stages": [
            {
                "augment.evolve": {
                    **{"engine": "llm", "judge": False, "answers": False},
                    "rows_per_shard": ROWS_PER_SHARD,
                }
            }
        ],
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return recipes.load(path)


def start(recipe: Path, cluster: Cluster, log: Path) -> subprocess.Popen[bytes]:
    """`raysft run` with engines that wait for the test, on the cluster."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    environment |= client_variables(Path(cluster.token_path))
    environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.fixtures.held_engines", "run", str(recipe)]
    with log.open("wb") as output:
        return subprocess.Popen(
            [*command, "--address", cluster.gcs_address],
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=output,
        )


def wait_until(holds: Callable[[], bool], run: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert run.poll() is None, f"the run ended: {log.read_text()}"
        assert time.monotonic() < deadline, f"timed out: {log.read_text()}"
        time.sleep(0.1)


def worker_of(pid: int, cluster: Cluster) -> str:
    """The name of the worker whose process this is."""
    return next(w.name for w in cluster.workers if pid in {p.pid for p in tree(w.processes)})


def test_run_spreads_to_nodes_that_join_and_survives_one_that_is_lost(
    cluster: Path, recipe: Recipe, tmp_path: Path
) -> None:
    llm, log = Path(recipe.engines["llm"].model), tmp_path / "run.log"
    (llm / HOLD).write_text("1")
    before = read(cluster)
    assert before is not None
    run = start(tmp_path / "recipe.yaml", before, log)
    try:
        wait_until(lambda: len(holders(llm)) == 1, run, log)
        mini_cluster.add_nodes(cluster, [Shape(NODE_CPUS), Shape(NODE_CPUS)], NOTICES_SOON)
        wait_until(lambda: len(holders(llm)) == 3, run, log)
        grown = read(cluster)
        assert grown is not None
        places = {worker_of(pid, grown): pid for pid in holders(llm)}
        assert places.keys() == {"worker-1", "worker-2", "worker-3"}

        assert mini_cluster.remove_node(cluster, "worker-2", kill=True) > 1
        assert not psutil.pid_exists(places["worker-2"])
        (llm / HOLD).unlink()
        assert run.wait(DEADLINE_S) == 0, log.read_text()
    finally:
        run.kill()
        run.wait()

    sealed = sealed_of(make_plan(recipe), Storage(recipe.run_root))
    counts, rows = sealed[-1].counts, rows_of(recipe, sealed)
    counts.check()
    assert (counts.rows_in, counts.passed, counts.quarantined) == (ROWS, ROWS, 0)
    assert counts.made_kept + counts.made_dropped == ROWS
    assert len(set(rows["id"].to_pylist())) == len(rows) == 2 * ROWS
    assert requests_made(llm) <= ROWS + 8 * ROWS_PER_SHARD, "only what was under way there is asked again"
