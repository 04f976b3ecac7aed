"""A running group of training workers grows when a machine joins the cluster, and its losses stay."""

from __future__ import annotations

import functools
import json
import os
import secrets
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import ray
import ray.train
from ray.cluster_utils import Cluster

from raysft.runtime import training
from raysft.runtime.manifest import read_manifest
from raysft.runtime.packing import pack_stage
from raysft.runtime.storage import Storage
from raysft.runtime.training import launch
from tests.runtime.packed_runs import ROOT, curated, folder_of, one_process, scratch_config, wait_until_stored
from tests.train.tiny import make_samples

LIMIT_S = 400
"""For what takes 50 s on a quiet machine."""
CONFIG = {"workers": {"min": 1, "max": 2}, "cpus_per_worker": 2, "distribution": "fsdp"}
NODE = {"object_store_memory": 100 << 20}
CLOSED = {"RAY_AUTH_MODE": "token", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Ray asks for a token and listens on the loopback interface."""


def wait_for_a_second_worker(log, storage, folder, report):
    """Worker code: write down (workers, step); alone, come no further than step 7 once that of step 6 is
    stored."""
    workers = ray.train.get_context().get_world_size()
    with open(log, "a") as file:
        file.write(f"{workers} {report.step}\n")
    if workers == 1 and report.step == 7:
        wait_until_stored(storage, folder, 6)
        Path(f"{log}.alone").touch()
        threading.Event().wait(LIMIT_S)
        raise TimeoutError(f"no second worker within {LIMIT_S} s")


def drive(root, log):
    """Train on a cluster of one machine with room for one worker, which a second machine joins; print the
    result."""
    storage, config = Storage(root), scratch_config(**CONFIG)
    training.RESIZE_EVERY_S = 1.0
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 3, **NODE})
    try:
        ray.init(address=cluster.address, log_to_driver=False)
        sealed = pack_stage(storage, [curated(storage, [make_samples(60)])], config)
        on_step = functools.partial(wait_for_a_second_worker, log, storage, folder_of(config, sealed))
        with ThreadPoolExecutor() as pool:
            result = pool.submit(launch, storage, sealed, config, on_step=on_step)
            while not (result.done() or Path(f"{log}.alone").exists()):
                threading.Event().wait(0.2)
            cluster.add_node(num_cpus=2, **NODE)
            print(json.dumps({"sealed": sealed.folder, **result.result()}))
    finally:
        ray.shutdown()
        cluster.shutdown()


def test_launch_elastic_grows_when_a_machine_joins_and_keeps_its_losses(tmp_path):
    storage = Storage(str(tmp_path / "run"))
    log = tmp_path / "steps"
    settings = [storage.root, str(log)]
    code = f"from tests.runtime.test_training_elastic import drive; drive(*{settings!r})"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, **CLOSED, "RAY_AUTH_TOKEN": secrets.token_hex(32)},
        capture_output=True,
        text=True,
        timeout=2 * LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout.splitlines()[-1])
    told = [tuple(map(int, line.split())) for line in log.read_text().splitlines()]
    assert told[:7] == [(1, step) for step in range(1, 8)]
    assert sorted(told[7:]) == [(2, step) for step in range(7, 13) for _ in range(2)]
    assert (result["workers"], result["steps"]) == (2, 12)
    sealed = read_manifest(storage, result["sealed"])
    expected = one_process(storage, sealed, scratch_config(**CONFIG), tmp_path)
    assert [h["loss"] for h in result["history"]] == pytest.approx(expected, rel=1e-4)
