"""Training with its checkpoints on a real S3 server: a worker is killed and the run goes on from there."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

from raysft.runtime.cluster import connected
from raysft.runtime.packing import pack_stage
from raysft.runtime.storage import Storage
from raysft.runtime.training import launch
from tests.fixtures.swift import S3
from tests.runtime.packed_runs import ROOT, curated, die_once, folder_of, scratch_config
from tests.train.tiny import make_samples


def drive(root: str, log: str) -> None:
    """Train eight steps on one worker, which is killed after the seventh, and print the result."""
    storage, config = Storage(root), scratch_config(workers=1, max_steps=8)
    with connected(None):
        sealed = pack_stage(storage, [curated(storage, [make_samples(60)])], config)
        on_step = functools.partial(die_once, log, 7, storage, folder_of(config, sealed))
        print(json.dumps(launch(storage, sealed, config, on_step=on_step)))


def test_launch_over_object_storage_worker_killed_goes_on_from_its_checkpoint(s3: S3, tmp_path: Path) -> None:
    log = tmp_path / "steps"
    code = f"from tests.runtime.test_training_s3 import drive; drive({s3.uri + '/runs/one'!r}, {str(log)!r})"
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=700, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout.splitlines()[-1])
    assert [h["step"] for h in result["history"]] == list(range(1, 9))
    assert log.read_text().split() == [*map(str, range(1, 8)), "7", "8"]
    assert result["skipped"] == []
