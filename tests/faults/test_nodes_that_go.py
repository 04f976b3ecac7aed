"""Clusters whose nodes come and go: real nodes on this machine, with logical CPUs and GPUs, and a head
without any. Runs are processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from raysft import recipe as recipes
from raysft.runtime.manifest import read_records
from raysft.runtime.plan import make_plan
from raysft.runtime.run import sealed_of
from raysft.runtime.storage import Storage
from tests.fixtures.engines import model_folder
from tests.fixtures.placed_engines import FAST, places
from tests.fixtures.ray_nodes import DEADLINE_S, ROOT, RayNodes
from tests.fixtures.runs import rows_of, write_conversations

GENERATION, SCORING = {"raysft-pool": "generation"}, {"raysft-pool": "scoring"}
ROWS, ROWS_PER_SHARD = 400, 2


class Site:
    """A recipe in a folder of its own, and a run of it on a cluster."""

    def __init__(self, folder: Path, stages: list[Any], engines: dict[str, Any], **settings: Any) -> None:
        folder.mkdir()
        kinds = {"llm": "vllm", "embedder": "sentence_transformers"}
        source = write_conversations(
            folder / "rows.jsonl",
            ([f"Describe the way from village {i} to town {i * 7}"] for i in range(ROWS)),
        )
        tree: dict[str, Any] = {
            "run": "placed",
            "root": str(folder / "runs"),
            "seed": 7,
            "sources": [{"path": str(source)}],
            "engines": {
                name: {"kind": kinds[name], "model": model_folder(folder / name), **values}
                for name, values in engines.items()
            },
            "stages": stages,
            **settings,
        }
        self.folder = folder
        self.path = folder / "recipe.yaml"
        self.path.write_text(yaml.safe_dump(tree), encoding="utf-8")
        self.recipe = recipes.load(self.path)
        self.log = folder / "run.log"

    def start(self, cluster: RayNodes) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.fixtures.placed_engines", "run", str(self.path)]
        with open(self.log, "wb") as log:
            return subprocess.Popen(
                [*command, "--address", cluster.address],
                cwd=ROOT,
                env=cluster.environment,
                stdout=log,
                stderr=log,
            )

    def wait_until(self, run: subprocess.Popen[bytes], holds: Callable[[], Any]) -> None:
        """Poll until `holds()`; a run that ends first, or takes too long, fails the test."""
        deadline = time.monotonic() + DEADLINE_S
        while not holds():
            assert run.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.1)

    def ends(self, run: subprocess.Popen[bytes]) -> int:
        """Its exit status; it may be fast from now on."""
        self.let_go()
        return run.wait(DEADLINE_S)

    def let_go(self) -> None:
        (self.folder / "llm" / FAST).touch()

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def nodes_of(self, engine: str) -> set[str]:
        return {place["node"] for place in places(self.folder / engine)}

    def committed(self) -> int:
        plan = make_plan(self.recipe)
        return len(read_records(Storage(self.recipe.run_root), plan.passes[0].folder))

    def assert_whole(self) -> None:
        """Every row answered, once, and counts that add up."""
        sealed = sealed_of(make_plan(self.recipe), Storage(self.recipe.run_root))
        rows = rows_of(self.recipe, sealed).to_pylist()
        live = [row for row in rows if row["drop_stage"] is None]
        assert len({row["id"] for row in rows}) == len(rows)
        assert len(live) + sum(row["drop_stage"] is not None for row in rows) == len(rows)
        answered = {row["messages"][0]["content"] for row in live}
        assert len(answered) == len(live)
        for m in sealed[1:]:
            c = m.counts
            assert c.rows_in == c.passed + c.consumed + c.dropped_in + c.quarantined == ROWS
        status = json.loads((Path(self.recipe.run_root) / "status.json").read_text())
        assert status["state"] == "succeeded"


RESPOND = {"augment.respond": {"engine": "llm", "rows_per_shard": ROWS_PER_SHARD}}


@pytest.fixture
def cluster_of(tmp_path: Path) -> Iterator[Callable[..., RayNodes]]:
    """Starts clusters that end with the test."""
    started: list[RayNodes] = []

    def begin(**options: Any) -> RayNodes:
        folder = tmp_path / f"cluster{len(started)}"
        folder.mkdir()
        started.append(RayNodes(folder, **options))
        return started[-1]

    yield begin
    for cluster in started:
        cluster.close()


def test_run_on_a_head_alone_starts_the_nodes_it_needs_and_its_pool_grows_with_them(
    cluster_of: Callable[..., RayNodes], tmp_path: Path
) -> None:
    cluster = cluster_of(
        node_types={
            "generation": {"resources": {"CPU": 3, "GPU": 1}, "labels": GENERATION, "max_workers": 2},
            "scoring": {"resources": {"CPU": 4}, "labels": SCORING, "max_workers": 1},
        }
    )
    site = Site(
        tmp_path / "site",
        [RESPOND, {"curate.embed": {"engine": "embedder"}}],
        {
            "llm": {"gpus": 1, "placement": GENERATION, "replicas": {"min": 1, "max": 2}},
            "embedder": {"placement": SCORING},
        },
    )
    run = site.start(cluster)
    site.wait_until(run, lambda: len(site.nodes_of("llm")) == 2)
    assert site.ends(run) == 0, site.said()
    site.assert_whole()
    pools = {
        name: {p["labels"]["raysft-pool"] for p in places(site.folder / name)} for name in ("llm", "embedder")
    }
    assert pools == {"llm": {"generation"}, "embedder": {"scoring"}}


def test_run_survives_a_node_that_goes_and_says_which_node_never_came(
    cluster_of: Callable[..., RayNodes], tmp_path: Path
) -> None:
    cluster = cluster_of()
    first, second = (cluster.add(4, 2, GENERATION) for _ in range(2))
    llm = {"gpus": 2, "tensor_parallel_size": 2, "placement": GENERATION, "replicas": {"min": 2, "max": 2}}
    site = Site(tmp_path / "survives", [RESPOND], {"llm": llm})
    run = site.start(cluster)
    site.wait_until(run, lambda: len(site.nodes_of("llm")) == 2 and site.committed() >= 4)
    cluster.kill(second)
    assert site.ends(run) == 0, site.said()
    site.assert_whole()
    seen = [(len(place["gpus"]), len(place["visible"].split(","))) for place in places(site.folder / "llm")]
    assert set(seen) == {(2, 2)}

    alone = Site(
        tmp_path / "alone", [RESPOND], {"llm": {**llm, "replicas": {"min": 1, "max": 1}}}, wait_for_nodes_s=4
    )
    run = alone.start(cluster)
    alone.wait_until(run, lambda: alone.committed() >= 4)
    cluster.kill(first)
    assert run.wait(DEADLINE_S) == 1, alone.said()
    lacking = "1 × llm (1 CPUs, 2 GPUs on raysft-pool=generation)"
    assert "NodesMissing: waited" in alone.said()
    assert lacking in alone.said()
    before = alone.committed()

    cluster.add(4, 2, GENERATION)
    run = alone.start(cluster)
    assert alone.ends(run) == 0, alone.said()
    assert 0 < before < ROWS / ROWS_PER_SHARD
    alone.assert_whole()
