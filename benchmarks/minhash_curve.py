"""What near-duplicate removal costs as the rows grow: seconds, memory, and rows a second at the margin.

The sides of benchmarks/minhash_ray.py that are our own, once each at every number of rows. The rate at the
margin, further rows over further seconds between two sizes, leaves out what a run costs whatever its size.

    python -m benchmarks.minhash_curve [--rows 100000 1000000 5000000]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks import harness, minhash_ray
from benchmarks.harness import HERE, OURS, BenchmarkError, Run, Side

LOOP = "plain_loop"
SIDES = tuple(side for side in minhash_ray.BENCHMARK.sides if side.peer is None)


def measure(sizes: Sequence[int], scratch: Path) -> dict[int, dict[str, Run]]:
    """Each side's run at each size, checked.

    Raises:
        BenchmarkError: a side failed, or the sides did not do the same work.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    benchmark, runs = minhash_ray.BENCHMARK, {}
    for rows in sizes:
        given = {"rows": rows}
        harness.run_side(Side("prepare", minhash_ray.prepare), given, scratch, benchmark.timeout_s)
        found = {side.name: harness.run_side(side, given, scratch, benchmark.timeout_s) for side in SIDES}
        minhash_ray.same_duplicates({name: run.work for name, run in found.items()})
        for name, run in found.items():
            print(f"{rows:>10,}  {name:<16} {run.wall_s:9.2f} s {run.peak_mib:9.0f} MiB", flush=True)
        runs[rows] = found
    return runs


def result_of(runs: Mapping[int, Mapping[str, Run]]) -> dict[str, Any]:
    """The JSON: figures of each size, and rows a second at the margin between a size and the next."""
    sizes = {
        str(rows): {
            name: {
                "wall_s": round(run.wall_s, 3),
                "cpu_s": round(run.cpu_s, 3),
                "peak_mib": round(run.peak_mib, 1),
                "facts": dict(run.work.facts),
            }
            for name, run in found.items()
        }
        for rows, found in runs.items()
    }
    margins = []
    for few, many in pairwise(runs):
        rates = {
            name: (many - few) / (run.wall_s - runs[few][name].wall_s) for name, run in runs[many].items()
        }
        told = {name: round(rate) for name, rate in rates.items()}
        ratio = round(rates[OURS] / rates[LOOP], 3)
        margins.append({"from": few, "to": many, "rows_per_s": told, f"{OURS}_over_{LOOP}": ratio})
    return {
        "name": "minhash_curve",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(["python", "-m", "benchmarks.minhash_curve", *sys.argv[1:]]),
        "machine": harness.machine(),
        "versions": {name: dict(run.versions) for name, run in next(iter(runs.values())).items()},
        "sizes": sizes,
        "margins": margins,
    }


def main(argv: Sequence[str] | None = None, results: Path = HERE / "results") -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="benchmarks.minhash_curve")
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000, 5_000_000])
    sizes = sorted(set(parser.parse_args(argv).rows))
    try:
        result = result_of(measure(sizes, results / ".logs" / "minhash_curve"))
    except BenchmarkError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    path = results / "minhash_curve.json"
    path.write_text(json.dumps(result, indent=2) + "\n")
    for margin in result["margins"]:
        print(f"{margin['from']:,} to {margin['to']:,} rows, rows a second: {margin['rows_per_s']}")
    print(f"written: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
