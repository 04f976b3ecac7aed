"""Which layout suits each side of the training benchmark best: rows or samples of a micro-batch, row lengths.

    python -m benchmarks.train_layouts --data FOLDER [--samples 192] [--sides ours,trl_padded,trl_packed]

Each layout trains one epoch of the same samples once, in a fresh process, as benchmarks/train.py does, and
the sides' first layouts are run again at the end, which says how far two runs of one layout differ. Results
go to benchmarks/results/train_layouts.json, the fastest first; benchmarks/train.py states which were taken.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from benchmarks import harness, perplexity, train
from benchmarks.harness import BenchmarkError, Side
from benchmarks.train import Layout

NO_RECOMPUTING: Layout = {"gradient_checkpointing": False}
LAYOUTS: Mapping[str, tuple[Layout, ...]] = {
    "ours": tuple(
        {"context_length": length, "rows_per_micro_batch": rows}
        for length, rows in ((1024, 1), (1024, 2), (1024, 4), (2048, 1), (4096, 1))
    ),
    "trl_padded": tuple({**NO_RECOMPUTING, "per_device_train_batch_size": n} for n in (1, 2, 4, 8, 16, 32)),
    "trl_packed": tuple(
        {**NO_RECOMPUTING, "packing": True, "max_length": length, "per_device_train_batch_size": rows, **more}
        for length, rows, more in (
            (1024, 1, {}),
            (1024, 2, {}),
            (1024, 4, {}),
            (2048, 1, {}),
            (1024, 1, {"model_init_kwargs": {"attn_implementation": "eager"}}),
        )
    ),
}
"""Rows of our batches stay rows; TRL lays those of a batch one after another under one mask."""


def with_ours(data: str, samples: int, layout: Layout) -> harness.Work:
    """Our loop at a layout."""
    return train.with_raysft(data, samples, layout, compares=False)


def with_trl(data: str, samples: int, layout: Layout) -> harness.Work:
    """TRL at a layout."""
    return train.with_trl(data, samples, layout)


def sides() -> dict[str, Side]:
    trl = Side("trl", with_trl, peer="trl", packages=train.PEER)
    return {
        "ours": Side("ours", with_ours, packages=train.PACKAGES),
        "trl_padded": trl,
        "trl_packed": trl,
    }


def measured_layouts(data: str, samples: int, names: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """For each side, its layouts with tokens a second, the fastest first.

    Raises:
        BenchmarkError: a run failed, or did not see the tokens that others saw.
    """
    scratch = train.FOLDER.parent
    scratch.mkdir(parents=True, exist_ok=True)
    arguments = {"data": data, "samples": samples}
    harness.run_side(Side("prepare", train.make_inputs), arguments, scratch, 1800)
    found: dict[str, list[dict[str, Any]]] = {}
    digests = set()
    for name in names:
        for layout in (*LAYOUTS[name], LAYOUTS[name][0]):
            run = harness.run_side(sides()[name], {**arguments, "layout": layout}, scratch, 1800)
            digests.add(run.work.digest)
            speed = run.work.facts["tokens"] / run.wall_s
            row = {"layout": layout, "tokens_per_second": round(speed, 1), "peak_mib": round(run.peak_mib)}
            found.setdefault(name, []).append(row)
            print(f"{name:<12} {speed:9,.0f} tokens/s  {json.dumps(layout)}", flush=True)
    if len(digests) != 1:
        raise BenchmarkError(f"layouts did not see the same tokens: {sorted(digests)}")
    return {name: sorted(rows, key=lambda row: -row["tokens_per_second"]) for name, rows in found.items()}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.train_layouts")
    parser.add_argument("--data", required=True, help=f"folder that has {perplexity.FILE}")
    parser.add_argument("--samples", type=int, default=192)
    parser.add_argument("--sides", default=",".join(LAYOUTS), help="some of them, with commas between")
    options = parser.parse_args(argv)
    names = options.sides.split(",")
    if unknown := sorted(set(names) - set(LAYOUTS)):
        parser.error(f"unknown sides {unknown}; there are {sorted(LAYOUTS)}")
    result = {
        "name": "train_layouts",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(["python", "-m", "benchmarks.train_layouts", *(argv or sys.argv[1:])]),
        "machine": harness.machine(),
        "sides": measured_layouts(options.data, options.samples, names),
    }
    path = harness.HERE / "results" / "train_layouts.json"
    path.write_text(json.dumps(result, indent=2) + "\n")
    print(f"written: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
