"""A recipe on a mini-cluster over object storage, and whether it keeps the rows that a local run keeps.

    python -m cluster.mini_test [--recipe FILE] [--nodes N] [--limit N] [--no-train]

The local run comes first: `raysft curate`, unless it is sealed already. Its sealed stages up to the last
augment stage are copied to a real S3 server (OpenStack Swift, from `make setup-swift`), so that both runs
curate the same generation; a stage is known by its fingerprint, which neither machine nor path changes. The
recipe is then submitted as a Ray job to a cluster of several nodes, with the run's root on that server. The
curated ids of both must be the same. Whatever was started is ended. Exit status 0: all held; 1: it did
not; 130: stopped.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import fsspec

from cluster import mini_cluster
from cluster.nodes import NodeError, Shape
from cluster.record import Cluster, client_variables
from raysft import recipe as recipes
from raysft.recipe import Recipe
from raysft.runtime.curated import MARKER, read_curated
from raysft.runtime.manifest import MANIFEST, Manifest
from raysft.runtime.plan import Plan, make_plan
from raysft.runtime.run import sealed_of
from raysft.runtime.status import STATUS, SUCCESS
from raysft.runtime.storage import Storage
from tests.fixtures.swift import NoSwift, serving, variables

ROOT = Path(__file__).resolve().parents[1]
RECIPE = ROOT / "jobs" / "recipes" / "demo.yaml"
FOLDER = ROOT / ".ray" / "test"  # beside the record of a cluster that `make cluster-up` started
BUCKET = "mini-test"
RUN_LIMIT_S = 3600.0  # of the local run, and of the job
STOP_S = 30.0


class CheckFailed(RuntimeError):
    """Something did not hold; the message says what."""


@dataclass(frozen=True)
class Asked:
    """Which recipe is run, as `raysft run` is told."""

    recipe: Path
    limit: int | None = None
    trains: bool = True

    @property
    def arguments(self) -> list[str]:
        """The recipe, by its place in the checkout if it is there, and the options on it."""
        path = self.recipe.resolve()
        named = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
        return [str(named), *(["--limit", str(self.limit)] if self.limit else [])]

    def load(self) -> Recipe:
        return recipes.load(self.recipe, limit=self.limit, looks=True)


def main(argv: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    os.chdir(ROOT)  # paths in recipes are relative to it, here as in a job
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that what was started is ended then too
    try:
        if options.nodes < 2:
            raise NodeError(f"nodes is {options.nodes}; allowed: 2 or more, a head and its workers")
        cpus = options.cpus or math.ceil(mini_cluster.MIN_CPUS / (options.nodes - 1))
        workers = [Shape(cpus)] * (options.nodes - 1)
        same_rows(Asked(options.recipe, options.limit, options.train), workers, options.folder)
    except (CheckFailed, NoSwift, NodeError, mini_cluster.ClusterError, recipes.RecipeError) as error:
        print(f"failed     {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped    the same command goes on with the local run", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mini_test", description="a recipe on a mini-cluster over S3")
    parser.add_argument("--recipe", type=Path, default=RECIPE, help="jobs/recipes/demo.yaml if unset")
    parser.add_argument("--nodes", type=int, default=3, help="the head and its workers together")
    parser.add_argument("--cpus", type=int, help="logical CPUs of each worker; if unset, 8 over all of them")
    parser.add_argument("--limit", type=int, help="a preview on N rows a source file, here and there")
    parser.add_argument("--no-train", action="store_false", dest="train", help="submit jobs/curate.py")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the cluster is recorded")
    return parser


def same_rows(asked: Asked, workers: Sequence[Shape], folder: Path = FOLDER) -> int:
    """Run the recipe here and on a cluster of these workers, recorded in `folder`; returns the number of
    curated rows of both.

    Raises:
        CheckFailed: a run failed, generated anew, or kept other rows.
    """
    plan = make_plan(asked.load())
    local = local_run(asked, plan)
    with contextlib.ExitStack() as stack:
        objects = stack.enter_context(tempfile.TemporaryDirectory(prefix="raysft-swift-"))
        server = stack.enter_context(serving(Path(objects)))
        os.environ.update(variables(server.endpoint))
        fsspec.filesystem("s3").mkdir(BUCKET)
        root = f"s3://{BUCKET}/runs"
        remote = Storage(f"{root}/{plan.recipe.settings.run}")
        tell("S3", f"OpenStack Swift at {server.endpoint}, the run is {remote.uri()}")
        shared = share(local, remote, generation(plan, sealed_of(plan, local)))
        stack.callback(mini_cluster.down, folder)
        cluster = mini_cluster.up(folder, 0, 0, workers)
        told = ", ".join(f"{worker.name} {worker.shape}" for worker in cluster.workers)
        tell("cluster", f"{cluster.gcs_address}: a head without work, {told}")
        submit(cluster, asked, root, variables(server.endpoint))
        return compare(plan, local, remote, shared)


def tell(subject: str, text: str) -> None:
    print(f"{subject:<10} {text}", flush=True)


def local_run(asked: Asked, plan: Plan) -> Storage:
    """The run on this machine, curated; one that is sealed is left alone.

    Raises:
        CheckFailed: it did not end well, or has no folder here.
    """
    storage = Storage(plan.recipe.run_root)
    if not storage.is_local:
        raise CheckFailed(f"root is {storage.uri()}; the local run needs a folder: name another recipe")
    if len(sealed_of(plan, storage)) < len(plan.all_passes) or not storage.exists(MARKER):
        tell("local run", f"raysft curate {' '.join(asked.arguments)}")
        command = [sys.executable, "-m", "raysft.cli", "curate", *asked.arguments]
        status = _bounded(command, dict(os.environ), "the local run")
        if status or not storage.exists(MARKER):
            raise CheckFailed(f"the local run ended with {status}; the same command goes on with it")
    tell("local run", f"{len(read_curated(storage)):,} curated rows in {storage.uri()}")
    return storage


def _bounded(command: Sequence[str], environment: dict[str, str], what: str) -> int:
    """Run a command whose output goes to the terminal; its exit status is for the caller to judge. One that
    is not waited for any longer is asked to stop, and killed `STOP_S` later.

    Raises:
        CheckFailed: it took longer than `RUN_LIMIT_S`.
    """
    process = subprocess.Popen(command, cwd=ROOT, env=environment)
    try:
        return process.wait(RUN_LIMIT_S)
    except subprocess.TimeoutExpired:
        raise CheckFailed(f"{what} had not ended after {RUN_LIMIT_S:.0f} s") from None
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def generation(plan: Plan, sealed: Sequence[Manifest]) -> list[Manifest]:
    """Of a run's sealed stages the sources and all up to the last augment stage."""
    if len(sealed) < len(plan.all_passes):
        raise CheckFailed(f"{len(sealed)} of {len(plan.all_passes)} stages of the local run are sealed")
    last = max((i for i, m in enumerate(sealed) if m.stage.startswith("augment.")), default=0)
    return list(sealed[: last + 1])


def share(local: Storage, remote: Storage, stages: Sequence[Manifest]) -> list[Manifest]:
    """Copy sealed stages to another run's root, the manifest of each one last; returns them."""
    for stage in stages:
        folder = Path(local.full(stage.folder))
        files = [f for f in folder.rglob("*") if f.is_file() and f.name != MANIFEST and f.suffix != ".tmp"]
        for file in (*sorted(files), folder / MANIFEST):
            remote.write_file(file, f"{stage.folder}/{file.relative_to(folder).as_posix()}")
    tell("S3", f"copied {', '.join(stage.folder.rsplit('/', 1)[-1] for stage in stages)}")
    return list(stages)


def submit(cluster: Cluster, asked: Asked, root: str, store: dict[str, str]) -> None:
    """Submit the job and follow it. Its exit status says little; `compare` looks at what is there."""
    ray = str(Path(sys.executable).with_name("ray"))
    job = [
        "python",
        f"jobs/{'run' if asked.trains else 'curate'}.py",
        *asked.arguments,
        "--set",
        f"root={root}",
    ]
    tell("job", " ".join(job))
    environment = {
        **os.environ,
        **client_variables(Path(cluster.token_path)),
        "RAY_API_SERVER_ADDRESS": cluster.dashboard,
    }
    settings = json.dumps({"env_vars": store})
    command = [ray, "job", "submit", "--working-dir", ".", "--runtime-env-json", settings, "--", *job]
    _bounded(command, environment, "the job")


def compare(plan: Plan, local: Storage, remote: Storage, shared: Sequence[Manifest]) -> int:
    """The number of curated rows, which are the same in both runs.

    Raises:
        CheckFailed: the job's run did not succeed, made a shared stage again, or kept other rows.
    """
    status = remote.read_json(STATUS) if remote.exists(STATUS) else {"state": "never begun"}
    if status["state"] != "succeeded" or not remote.exists(SUCCESS):
        raise CheckFailed(f"the job's run is {status['state']}: {status.get('error', 'no error is told')}")
    if sealed_of(plan, remote)[: len(shared)] != list(shared):
        raise CheckFailed("the job made a stage again that the local run had sealed")
    here, there = (set(read_curated(storage)["id"].to_pylist()) for storage in (local, remote))
    if here != there:
        raise CheckFailed(
            f"{len(here - there)} curated rows of the local run are not in the job's, "
            f"{len(there - here)} of the job's not in the local run's, of {len(here):,} and {len(there):,}"
        )
    tell("result", f"succeeded, {len(here):,} curated rows, the same ids as the local run's")
    return len(here)


if __name__ == "__main__":
    sys.exit(main())
