"""A curated set of a few dozen conversations, packed and trained on a local Ray, for tests of training."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pyarrow as pa

from raysft.runtime import manifest
from raysft.runtime.manifest import Manifest, seal
from raysft.runtime.packing import read_packed, read_tokenizer
from raysft.runtime.training import train_fingerprint
from raysft.runtime.training_checkpoints import stored_checkpoints
from raysft.sample import mark_dropped, set_column
from raysft.stage import Counts
from raysft.train.checkpoint import is_whole
from raysft.train.loop import train
from raysft.train.scratch import make_model
from tests.train.tiny import make_config, make_samples

SAMPLES = 120
ROOT = Path(__file__).resolve().parents[2]


def make_tables():
    """Two shards; the first sample has no answer, and every tenth sample was dropped before."""
    rows = make_samples(SAMPLES)
    messages = rows["messages"].to_pylist()
    messages[1] = messages[1][:1]
    rows = set_column(rows, "messages", pa.array(messages, rows.schema.field("messages").type))
    rows = mark_dropped(rows, "curate.rules", ["too_short" if i % 10 == 0 else None for i in range(SAMPLES)])
    return [rows.slice(0, 70), rows.slice(70)]


def curated(storage, tables):
    records = [
        manifest.commit(storage, "stages/00-curated", f"{i:05d}", t, base=None, input="", counts=Counts())
        for i, t in enumerate(tables)
    ]
    return seal(
        storage, Manifest("curate.select", "stages/00-curated", "f0", "rows", tuple(records), Counts())
    )


def scratch_config(**changes):
    return make_config(
        **{
            "eval_fraction": 0.1,
            "workers": 2,
            "max_steps": 12,
            "save_every_steps": 3,
            "epochs": 99,
            **changes,
        }
    )


def one_process(storage, sealed, config, folder):
    """The losses of the same run without Ray, in this process."""
    model = make_model(config.scratch, read_tokenizer(storage, sealed, folder), config.seed)
    return [h["loss"] for h in train(model, read_packed(storage, sealed, "train"), config).history]


def wait_until_stored(storage, folder, step):
    """Worker code: return when the checkpoint of a step is stored, whole."""
    deadline = time.monotonic() + 180  # seconds, of which a quiet machine needs one
    while time.monotonic() < deadline:
        found = stored_checkpoints(storage, folder, Path())
        if any(is_whole(f.names()) for name, f in found.items() if name.startswith(f"step-{step:09d}-")):
            return
        time.sleep(0.05)
    raise TimeoutError(f"no checkpoint of step {step} in {storage.uri(folder)}")


def folder_of(config, sealed):
    return f"train/{train_fingerprint(config, sealed)[:12]}"


def die_once(log, step, storage, folder, report):
    """Worker code: write down every step; the first to end `step` is killed, unless it was reached before."""
    steps = Path(log).read_text().split() if Path(log).exists() else []
    with open(log, "a") as file:
        file.write(f"{report.step}\n")
    if report.step == step and str(step) not in steps:
        wait_until_stored(storage, folder, 6)
        os.kill(os.getpid(), signal.SIGKILL)
