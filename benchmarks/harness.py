"""Ratio benchmarks: two or more sides do the same work in turn, in one run, on one machine.

A benchmark is a module `benchmarks/<name>.py` with `BENCHMARK = Benchmark(…)` and, at its end,
`sys.exit(harness.main(BENCHMARK))`. A side is a module-level function that returns a `Work`; it runs in a
fresh process of this environment or of a peer's own (`benchmarks/peers/<peer>.txt`, a pinned list), so the
module's top level imports the standard library and this module alone. The part that is compared is the
whole call, or, where the side uses it, what it runs inside `with measured():`.

The first round is checked before any other runs: sides that did not do the same work are no comparison.
Rounds alternate the order of the sides. Per run, of the process and all its descendants:

    wall_s    seconds of the compared part
    cpu_s     user + system seconds of the compared part, sampled (process_tree.py); at least what the
              process itself and those it waited for used. Of a descendant's last moments up to one
              interval is missed, and one that lives shorter than that may be missed whole.
    peak_mib  most resident memory at a sample, over the run's whole life (never less than the process's
              own peak); pages that processes share count once for each

`benchmarks/results/<name>.json` keeps the raw figures; a ratio is the peer's median wall_s over ours.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import math
import os
import platform
import resource
import shutil
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.process_tree import TreeSampler

HERE = Path(__file__).resolve().parent
OURS = "raysft"
_marks: dict[str, tuple[float, float]] = {}


class BenchmarkError(RuntimeError):
    """A side failed, or the sides did not do the same work; there is no result."""


@dataclass(frozen=True)
class Work:
    """What a side did. `digest` identifies its output; `facts` are further figures for the record;
    `evidence` (JSON) is for the check alone and not kept."""

    digest: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    evidence: Any = None


@dataclass(frozen=True)
class Side:
    """One way to do the work: `run(**arguments)`, in the environment of `peer` where it names one. Its ratio
    is over the side that `beside` names; the benchmark's first, if it names none."""

    name: str
    run: Callable[..., Work]
    peer: str | None = None
    packages: tuple[str, ...] = ()  # distributions whose versions the result names
    beside: str | None = None


@dataclass(frozen=True)
class Run:
    """The figures of one run of one side."""

    wall_s: float
    cpu_s: float
    peak_mib: float
    work: Work
    versions: Mapping[str, str]


def same_digest(works: Mapping[str, Work]) -> str:
    """The default check: all sides' outputs have one digest. Returns what was equal."""
    digests = {name: work.digest for name, work in works.items()}
    if len(set(digests.values())) != 1:
        raise BenchmarkError(f"outputs differ: {digests}")
    return "outputs have the same digest"


@dataclass(frozen=True)
class Benchmark:
    """What is compared. The first side is ours; `check` gets each side's work of one round, and returns
    what it found equal or raises `BenchmarkError`. `options` adds arguments to the command line; all of
    them reach every side as keyword arguments, and before all sides `prepare`, which is called once, in a
    process of its own, to make what they share."""

    name: str
    sides: tuple[Side, ...]
    rounds: int = 5
    check: Callable[[Mapping[str, Work]], str] = same_digest
    options: Callable[[argparse.ArgumentParser], None] | None = None
    prepare: Callable[..., Work] | None = None
    timeout_s: float = 1800


@contextmanager
def measured() -> Iterator[None]:
    """Marks the part of a side that is compared, once a run; start-up and checks stay outside."""
    if "begin" in _marks:
        raise BenchmarkError("measured() was entered twice in one run")
    _marks["begin"] = _now()
    yield
    _marks["end"] = _now()


def measured_so_far() -> float:
    """Seconds since `measured()` was entered."""
    return time.monotonic() - _marks["begin"][0]


def measured_between(begin: float, end: float) -> None:
    """Marks the compared part by two moments of `time.monotonic()`, where another process knows the first."""
    _marks["begin"], _marks["end"] = (begin, math.nan), (end, math.nan)


def _now() -> tuple[float, float]:
    """Monotonic seconds (one clock for all processes); CPU seconds of this process and reaped children."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.monotonic(), own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def run_child(target: str, output: Path) -> None:
    """In the side's own process: call `module:function` with the arguments on stdin, write what it did."""
    module_name, _, function = target.partition(":")
    arguments = json.load(sys.stdin)
    module = importlib.import_module(module_name)
    harness = importlib.import_module("benchmarks.harness")  # not __main__: marks live in the one sides see
    whole = _now()
    work = getattr(module, function)(**arguments["arguments"])
    marks = {"begin": whole, "end": _now(), **harness._marks}
    versions = {p: metadata.version(p) for p in arguments["packages"]}
    done = {"work": asdict(work), "marks": marks, "peak_mib": _own_peak_mib(), "versions": versions}
    output.write_text(json.dumps(done))


def _own_peak_mib() -> float:
    """Most resident memory of this process since it started; getrusage's figure also has its parent's."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0.0
    fields = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
    return int(fields["VmHWM"].split()[0]) / 2**10


def target_of(function: Callable[..., Work]) -> str:
    """`module:function`, also for a module that runs as the program.

    Raises:
        BenchmarkError: the function is not at a module's top level, so another process cannot find it.
    """
    module = function.__module__
    if module == "__main__":
        spec = sys.modules["__main__"].__spec__
        module = spec.name if spec else ""
    if not module or "." in function.__qualname__:
        raise BenchmarkError(f"{function.__qualname__} is not a function at the top level of a module")
    return f"{module}:{function.__name__}"


def run_side(side: Side, arguments: Mapping[str, Any], scratch: Path, timeout_s: float) -> Run:
    """Run one side once in a fresh process.

    Raises:
        BenchmarkError: it failed or took longer than `timeout_s`; the message has the end of its log.
    """
    output, log = scratch / "work.json", scratch / f"{side.name}.log"
    output.unlink(missing_ok=True)
    python = environment_of(side.peer) if side.peer else Path(sys.executable)
    command = [str(python), "-m", "benchmarks.harness", target_of(side.run), str(output)]
    given = json.dumps({"arguments": dict(arguments), "packages": side.packages})
    with log.open("w") as stream:
        process = subprocess.Popen(
            command,
            cwd=HERE.parent,
            stdin=subprocess.PIPE,
            stdout=stream,
            stderr=subprocess.STDOUT,
            text=True,
        )
        sampler = TreeSampler(process.pid)
        sampler.start()
        try:
            process.communicate(given, timeout=timeout_s)
        except subprocess.TimeoutExpired:
            raise BenchmarkError(f"{side.name}: not done after {timeout_s:.0f} s\n{_tail(log)}") from None
        finally:
            sampler.stop()
            process.kill()
            process.wait()
    if process.returncode != 0 or not output.exists():
        raise BenchmarkError(f"{side.name}: exit status {process.returncode}\n{_tail(log)}")
    found = json.loads(output.read_text())
    (begin, own_begin), (end, own_end) = found["marks"]["begin"], found["marks"]["end"]
    return Run(
        wall_s=end - begin,
        cpu_s=max(sampler.cpu_at(end) - sampler.cpu_at(begin), own_end - own_begin),  # the latter may be NaN
        peak_mib=max(sampler.peak_mib, found["peak_mib"]),
        work=Work(**found["work"]),
        versions=found["versions"],
    )


def _tail(log: Path, lines: int = 25) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def environment_of(peer: str) -> Path:
    """The Python of a peer's virtual environment, made from its pinned list if it is not there yet."""
    pins = HERE / "peers" / f"{peer}.txt"
    key = hashlib.sha256(pins.read_bytes()).hexdigest()[:12]
    folder = HERE / ".venvs" / f"{peer}-{key}"
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, with_pip=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, "-r", str(pins)], check=True)
        (folder / "complete").touch()
    return python


def compare(
    benchmark: Benchmark, rounds: int, arguments: Mapping[str, Any], scratch: Path
) -> tuple[dict[str, list[Run]], str]:
    """Run all rounds; returns each side's runs, in order, and what the check found equal.

    Raises:
        BenchmarkError: a side failed, or the check refused a round.
    """
    runs: dict[str, list[Run]] = {side.name: [] for side in benchmark.sides}
    statement = ""
    if benchmark.prepare:
        run_side(Side("prepare", benchmark.prepare), arguments, scratch, benchmark.timeout_s)
    for number in range(rounds):
        order = benchmark.sides if number % 2 == 0 else benchmark.sides[::-1]
        for side in order:
            run = run_side(side, arguments, scratch, benchmark.timeout_s)
            runs[side.name].append(run)
            print(f"round {number + 1}/{rounds}  {side.name:<16} {run.wall_s:9.3f} s", flush=True)
        statement = benchmark.check({name: done[-1].work for name, done in runs.items()})
    return runs, statement


def result_of(benchmark: Benchmark, runs: Mapping[str, Sequence[Run]], statement: str) -> dict[str, Any]:
    """The JSON of a finished benchmark."""
    walls = {name: median(r.wall_s for r in done) for name, done in runs.items()}
    ours = benchmark.sides[0].name
    beside = {side.name: side.beside or ours for side in benchmark.sides if side.name != ours}
    own = set(beside.values())
    return {
        "name": benchmark.name,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(["python", "-m", f"benchmarks.{benchmark.name}", *sys.argv[1:]]),
        "machine": machine(),
        "versions": {
            "python": platform.python_version(),
            **{name: dict(done[0].versions) for name, done in runs.items()},
        },
        "check": statement,
        "sides": {
            name: {
                "cpu_s": [round(r.cpu_s, 4) for r in done],
                "wall_s": [round(r.wall_s, 4) for r in done],
                "peak_mib": round(max(r.peak_mib for r in done), 1),
                "output_digest": done[-1].work.digest,
                "facts": [dict(r.work.facts) for r in done],
            }
            for name, done in runs.items()
        },
        "ratios": {
            name: round(walls[name] / walls[other], 3) for name, other in beside.items() if name not in own
        },
    }


def machine() -> dict[str, Any]:
    """CPU model, cores this process may use, memory, system, and GPUs where there are any."""
    import psutil

    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [x.split(":", 1)[1].strip() for x in cpuinfo.read_text().splitlines() if "model name" in x]
        model = names[0] if names else model
    found = {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "os": platform.platform(),
    }
    if shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        gpus = subprocess.run(query, capture_output=True, text=True, check=False).stdout.splitlines()
        found["gpus"] = [name.strip() for name in gpus]
    return found


def table_of(result: Mapping[str, Any]) -> str:
    """The result as text: a line a side, medians, and how many times as fast as that side we are."""
    lines = [f"{'side':<16} {'wall s':>10} {'cpu s':>10} {'peak MiB':>10} {'ratio':>8}"]
    for name, side in result["sides"].items():
        ratio = result["ratios"].get(name)
        lines.append(
            f"{name:<16} {median(side['wall_s']):>10.3f} {median(side['cpu_s']):>10.3f} "
            f"{side['peak_mib']:>10.1f} {'' if ratio is None else f'{ratio:.2f}':>8}"
        )
    return "\n".join([*lines, f"check: {result['check']}"])


def main(benchmark: Benchmark, argv: Sequence[str] | None = None, results: Path = HERE / "results") -> int:
    """The command line of a benchmark; returns its exit status."""
    parser = argparse.ArgumentParser(prog=f"benchmarks.{benchmark.name}")
    parser.add_argument("--rounds", type=int, default=benchmark.rounds)
    if benchmark.options:
        benchmark.options(parser)
    arguments = vars(parser.parse_args(argv))
    rounds = arguments.pop("rounds")
    scratch = results / ".logs" / benchmark.name
    scratch.mkdir(parents=True, exist_ok=True)
    try:
        runs, statement = compare(benchmark, rounds, arguments, scratch)
    except BenchmarkError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    result = result_of(benchmark, runs, statement)
    path = results / f"{benchmark.name}.json"
    path.write_text(json.dumps(result, indent=2) + "\n")
    print(f"{table_of(result)}\nwritten: {path}")
    return 0


if __name__ == "__main__":
    run_child(sys.argv[1], Path(sys.argv[2]))
