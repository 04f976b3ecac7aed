"""The command line refuses what the cluster cannot hold, in seconds and with the numbers."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from raysft.cli import OK, WRONG, main
from tests.fixtures.cheap_runs import write_recipe
from tests.fixtures.engines import model_folder

pytestmark = pytest.mark.usefixtures("session_ray_alone")
SECONDS = 60  # what refuses to start must not wait; importing alone can take ten on a busy machine


def wants(folder: Path, **engine: Any) -> dict[str, Any]:
    spec = {"kind": "transformers", "model": model_folder(folder / "model"), **engine}
    return {
        "engines": {"judge": spec},
        "stages": ["curate.rules", {"curate.perplexity": {"engine": "judge"}}],
    }


@pytest.mark.parametrize(
    ("engine", "train", "expected"),
    [
        ({"cpus": 64}, None, "engines.judge: one replica wants 64 CPUs and 0 GPUs, the largest node of"),
        ({"gpus": 4}, None, "engines.judge: one replica wants 1 CPUs and 4 GPUs, the largest node of"),
        (
            {"cpus": 3, "replicas": {"min": 3, "max": 3}},
            None,
            "engines.judge: 2 of its 3 replicas, 3 CPUs and 0 GPUs each, fit on the nodes of",
        ),
        (
            {"cpus": 2, "replicas": {"min": 4, "max": 4}},
            None,
            "curate.perplexity: 4 replicas of 'judge' want 8 CPUs and 0 GPUs, reading and writing one CPU;",
        ),
        ({}, {"workers": 8}, "train: 8 workers want 8 CPUs and 0 GPUs, and one CPU to steer them;"),
        ({}, {"workers": {"min": 8, "max": 9}}, "train: 8 workers want 8 CPUs and 0 GPUs, and one CPU to"),
        ({}, {"gpus_per_worker": 2}, "train: one worker wants 1 CPUs and 2 GPUs, the largest node of"),
    ],
    ids=["cpus", "gpus", "nodes", "pool", "workers", "elastic", "worker"],
)
def test_run_that_the_cluster_cannot_hold_ends_in_seconds_with_the_numbers(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    engine: dict[str, Any],
    train: dict[str, Any] | None,
    expected: str,
) -> None:
    training = {"train": {"model": "owner/model", **train}} if train else {}
    path = write_recipe(tmp_path, "large", **wants(tmp_path, **engine), **training)
    started = time.monotonic()
    assert main(["run", path]) == WRONG
    assert time.monotonic() - started < SECONDS
    error = capsys.readouterr().err
    assert expected in error
    assert "Traceback" not in error
    status = json.loads((tmp_path / "runs/large/status.json").read_text())
    assert status["state"] == "failed"
    assert expected in status["error"]
    assert not (tmp_path / "runs/large/stages").exists()
    assert main(["plan", path, "--json"]) == WRONG
    shown = json.loads(capsys.readouterr().out)
    assert [p for p in shown["problems"] if p.startswith(expected.partition(",")[0])]


def test_curate_does_not_ask_for_what_only_training_needs(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, "untold", stages=[], train={"model": "owner/model", "workers": 64})
    assert main(["curate", path]) == OK
