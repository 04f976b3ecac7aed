"""A training whose budget ends while it runs stops at once, goes on from its checkpoint, and is counted."""

from __future__ import annotations

import functools
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import ray

from raysft.costs import Budget, Prices
from raysft.runtime import manifest
from raysft.runtime.budget import OverBudget, Watch
from raysft.runtime.capacity import Capacity
from raysft.runtime.ledger import ENGINE, Ledger, Ledgers
from raysft.runtime.manifest import Manifest, read_manifest, seal
from raysft.runtime.packing import pack_stage
from raysft.runtime.storage import Storage
from raysft.runtime.training import launch, train_fingerprint
from raysft.runtime.training_checkpoints import stored_checkpoints
from raysft.stage import Counts
from raysft.train.checkpoint import is_whole
from raysft.train.loop import StepReport
from tests.train.tiny import make_config, make_samples

CONFIG: dict[str, Any] = {"max_steps": 6, "save_every_steps": 2, "epochs": 99, "eval_fraction": 0.0}
PATIENCE_S = 240
ROOT = Path(__file__).resolve().parents[2]


def packed(storage: Storage, config: Any) -> Manifest:
    record = manifest.commit(
        storage, "stages/00-curated", "00000", make_samples(30), base=None, input="", counts=Counts()
    )
    curated = Manifest("curate.select", "stages/00-curated", "f0", "rows", (record,), Counts())
    return pack_stage(storage, [seal(storage, curated)], config)


def spend(log: str, storage: Storage, session: str, folder: str, report: StepReport) -> None:
    """Worker code: write down every step; after step 3, once that of step 2 is stored, use up the budget and
    come no further."""
    with open(log, "a") as file:
        file.write(f"{report.step}\n")
    if report.step == 3:
        until = time.monotonic() + PATIENCE_S
        while not is_stored(storage, folder, Path(log).parent) and time.monotonic() < until:
            threading.Event().wait(0.1)
        ledger = Ledger(storage, session, ENGINE, "llm")
        ledger.tally.end(ledger.tally.begin(), 1, 500, 500)
        ledger.close()
        threading.Event().wait(PATIENCE_S)


def is_stored(storage: Storage, folder: str, scratch: Path) -> bool:
    return any(is_whole(found.names()) for found in stored_checkpoints(storage, folder, scratch).values())


def drive(root: str, packed: str, log: str) -> None:
    """A driver in a process of its own, with 1,000 tokens to spend."""
    storage, config = Storage(root), make_config(**CONFIG)
    sealed = read_manifest(storage, packed)
    assert sealed is not None
    folder = f"train/{train_fingerprint(config, sealed)[:12]}"
    watch = Watch(storage, Budget(tokens=1000), Prices(), look_s=0.2)
    on_step = functools.partial(spend, log, storage, watch.session, folder)
    try:
        with watch:
            launch(storage, sealed, config, on_step=on_step, watch=watch)
    except OverBudget as error:
        print(error)


def test_training_whose_budget_ends_stops_at_once_and_goes_on_from_its_checkpoint(
    local_ray: Capacity, tmp_path: Path
) -> None:
    storage = Storage(str(tmp_path / "run"))
    config = make_config(**CONFIG)
    sealed = packed(storage, config)
    log = tmp_path / "steps"
    code = f"import ray; ray.init(address={ray.get_runtime_context().gcs_address!r}, log_to_driver=False); "
    code += "from tests.runtime.test_training_budget import drive; "
    code += f"drive(*{[storage.root, sealed.folder, str(log)]!r})"
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500, check=False)
    assert "1,000 tokens of budget.tokens 1,000" in ended.stdout, ended.stderr[-3000:]
    assert (ended.returncode, log.read_text().split()) == (0, ["1", "2", "3"])

    with Watch(storage, Budget(tokens=2000), Prices()) as raised:
        on_step = functools.partial(write_down, str(log))
        result = launch(storage, sealed, config, on_step=on_step, watch=raised)
    assert log.read_text().split() == ["1", "2", "3", "3", "4", "5", "6"]
    assert [h["step"] for h in result["history"]] == [1, 2, 3, 4, 5, 6]
    used = Ledgers(storage).spent().training
    assert used.processes == 2
    assert used.cpu_seconds == pytest.approx(used.alive_seconds * config.cpus_per_worker)


def write_down(log: str, report: StepReport) -> None:
    with open(log, "a") as file:
        file.write(f"{report.step}\n")
