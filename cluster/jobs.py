"""Runs as Ray jobs: submit one and follow it to its end, read its log, stop it.

    python -m cluster.jobs submit RECIPE [--address URL] [options of `raysft run`]
    python -m cluster.jobs logs [JOB]
    python -m cluster.jobs stop [JOB]

A job is named after its run, so that a second one of the same run is noticed before anything is sent. The
cluster is that of `--address`, of RAY_API_SERVER_ADDRESS, or the one that `<checkout>/.ray/env` names; its
token comes from there or from Ray's own variables. What is sent is the checkout without what git ignores.

Exit status: of `submit` the run's own (see `raysft.cli`), 130 where the job was stopped; 2 for a wrong call.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import logging
import os
import shlex
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from raysft import recipe as recipes
from raysft.recipe import Recipe, RecipeError

CHECKOUT = Path(__file__).resolve().parents[1]
ENVIRONMENT = CHECKOUT / ".ray" / "env"
OK, FAILED, WRONG, STOPPED = 0, 1, 2, 130
STOP_S = 60
"""How long a stopped run may take to leave its cluster and say so; Ray's own 3 s are too short."""
CONNECT_S, ANSWER_S = 5.0, 60.0
"""How long a cluster may take to be reached, and to answer; Ray's client would wait for ever."""
PREFIX = "raysft-"
ROOT = "raysft_root"
ADDRESS = "RAY_API_SERVER_ADDRESS"
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class JobError(RuntimeError):
    """The call is wrong, or there is no cluster for it; the message says what to do."""


class ClusterSilent(RuntimeError):
    """The cluster answers no more; what became of the job is not known."""


def connection(
    environment: Mapping[str, str], file: Path = ENVIRONMENT, address: str | None = None
) -> dict[str, str]:
    """The variables by which Ray finds and enters the cluster: those of the file that `make up` wrote, unless
    another cluster is named, and over them the caller's own.

    Raises:
        JobError: no cluster is named anywhere.
    """
    written = _exports(file)
    named = address or environment.get(ADDRESS) or written.get(ADDRESS)
    if not named:
        raise JobError(f"no cluster is named by ADDRESS, {ADDRESS} or {file}; `make up` starts one here")
    named = named if "://" in named else f"http://{named}"
    own = {name: value for name, value in environment.items() if name.startswith("RAY_AUTH_")}
    found = {**written, **own} if named == written.get(ADDRESS) else own
    if "RAY_AUTH_TOKEN" in found or "RAY_AUTH_TOKEN_PATH" in found:
        found.setdefault("RAY_AUTH_MODE", "token")
    if is_here(named):
        direct = environment.get("no_proxy") or environment.get("NO_PROXY")
        found["no_proxy"] = ",".join([*([direct] if direct else []), *LOOPBACK])
    return {**found, ADDRESS: named}


def _exports(file: Path) -> dict[str, str]:
    """The `export NAME=value` lines of a file of the shell; none if there is no such file."""
    lines = file.read_text().splitlines() if file.is_file() else []
    words = [word for line in lines for word in shlex.split(line.removeprefix("export "))]
    return {name: value for name, equals, value in (word.partition("=") for word in words) if equals}


def submission_id(recipe: Recipe, taken: Iterable[str]) -> str:
    """The name of a run's next job: of the run and its root, with a number from the second on."""
    digest = hashlib.sha256(recipe.run_root.encode()).hexdigest()[:6]
    first, number = f"{PREFIX}{recipe.settings.run}-{digest}", 1
    names = set(taken)
    while (name := first if number == 1 else f"{first}-{number}") in names:
        number += 1
    return name


def entry_point(command: str, recipe: str, options: Sequence[str]) -> str:
    """What the job's shell runs; `exec`, so that a signal and the exit status are the run's own."""
    return f"exec {shlex.join(['python', f'jobs/{command}.py', recipe, *options])}"


def runtime_environment(variables: Mapping[str, str], install: str | None) -> dict[str, Any]:
    """What a job finds where it runs: this checkout, variables, and packages if the nodes lack them."""
    found: dict[str, Any] = {
        "working_dir": str(CHECKOUT),
        "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_S), **variables},
    }
    return {**found, "pip": install} if install else found


def is_here(address: str) -> bool:
    """Whether a cluster is on this machine, so that its jobs see this machine's folders."""
    return urlsplit(address).hostname in LOOPBACK


def rooted(recipe: Recipe, address: str) -> str | None:
    """The absolute root that a job needs in place of a relative one, since Ray unpacks the checkout into a
    folder that goes with the job; None where the recipe's own will do.

    Raises:
        JobError: the cluster is elsewhere, so that no folder of this machine will do.
    """
    root = recipe.settings.root
    if "://" in root or Path(root).is_absolute():
        return None
    if not is_here(address):
        raise JobError(
            f"root: got {root!r}, lost with the job; allowed: a store such as s3://bucket/runs, or an "
            "absolute folder that all nodes see: ARGS='--set root=…'"
        )
    return str((CHECKOUT / root).resolve())


def recipe_there(recipe: str, address: str) -> str:
    """The path by which a job finds a recipe: within the checkout that it is sent, or on this machine.

    Raises:
        JobError: the recipe is not in the checkout and the cluster is elsewhere.
    """
    path = Path(recipe).resolve()
    if path.is_relative_to(CHECKOUT):
        return str(path.relative_to(CHECKOUT))
    if not is_here(address):
        raise JobError(f"{recipe}: is not below {CHECKOUT}, which is all that a job is sent; copy it there")
    return str(path)


def exit_status(status: str, code: int | None) -> int:
    """What a job's end means for a shell; `ray job submit` gives 0 where one was stopped, else 0 or 1."""
    if status == "SUCCEEDED":
        return OK
    if status == "STOPPED":
        return STOPPED
    if code is None:
        return FAILED
    return 128 - code if code < 0 else code or FAILED


def submit(options: argparse.Namespace, passed: list[str]) -> int:
    """Submit a run and, unless detached, follow it to its end."""
    overrides, limit = _of_recipe(passed)
    recipe = recipes.load(options.recipe, overrides, limit=limit)
    client = _client(options.address)
    path = recipe_there(options.recipe, client.get_address())
    root = rooted(recipe, client.get_address())
    if root is not None:
        passed = [*passed, "--set", f"root={root}"]
        recipe = recipes.load(options.recipe, [*overrides, f"root={root}"], limit=limit)
    jobs = client.list_jobs()
    running = [
        j for j in jobs if (j.metadata or {}).get(ROOT) == recipe.run_root and not j.status.is_terminal()
    ]
    if running:
        raise JobError(_already(recipe, running[0].submission_id))
    variables = {name: _variable(name) for name in options.env}
    name = submission_id(recipe, (str(j.submission_id) for j in jobs))
    try:
        client.submit_job(
            entrypoint=entry_point(options.command, path, passed),
            submission_id=name,
            runtime_env=runtime_environment(variables, options.install),
            metadata={ROOT: recipe.run_root},
        )
    except (RuntimeError, ValueError) as error:
        if "already exists" in str(error):  # another was quicker
            raise JobError(_already(recipe, name)) from None
        raise JobError(f"the cluster took no job: {str(error).strip().splitlines()[-1]}") from None
    print(
        f"{name} goes to {recipe.run_root}; its log: make logs JOB={name}; its end: make stop JOB={name}",
        flush=True,
    )
    return OK if options.detach else follow(client, name)


def _of_recipe(passed: Sequence[str]) -> tuple[list[str], int | None]:
    """The overrides and the limit among a command's options, which decide what the run is called."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--limit", type=int)
    found, _ = parser.parse_known_args(passed)
    return found.set, found.limit


def _already(recipe: Recipe, name: str | None) -> str:
    shown = f"make logs JOB={name} shows it, make stop JOB={name} ends it"
    return f"{recipe.run_root} is being run by job {name}: {shown}"


def _variable(name: str) -> str:
    if name not in os.environ:
        raise JobError(f"--env {name}: this environment has no such variable; export it first")
    return os.environ[name]


def follow(client: Any, name: str) -> int:
    """Print a job's log until the job has ended; returns its exit status. Ctrl-C leaves the job alone."""
    try:
        asyncio.run(_print_log(client, name))
    except KeyboardInterrupt:
        print(f"\n{name} goes on: make logs JOB={name}, make stop JOB={name}", file=sys.stderr)
        return STOPPED
    info = client.get_job_info(name)
    status = str(info.status.value)
    code = exit_status(status, info.driver_exit_code)
    if status == "FAILED" and info.driver_exit_code is None:
        print(f"{name} did not start: {info.message}", file=sys.stderr)
    print(f"{name} {status.lower()}" + (f" with exit status {code}" if code else ""), file=sys.stderr)
    return code


async def _print_log(client: Any, name: str) -> None:
    """Print a job's log until the job has ended and all of its log is told. A connection that breaks, or has
    nothing to say for long, is made again.

    Raises:
        ClusterSilent: the cluster did not answer for `ANSWER_S`.
    """
    printed, has_ended, answered = 0, False, time.monotonic()
    while True:
        printed, is_whole = await _print_from(client, name, printed)
        try:
            had_ended, has_ended = has_ended, client.get_job_info(name).status.is_terminal()
            answered = time.monotonic()
            if has_ended and (is_whole or had_ended):
                return
        except (OSError, RuntimeError) as error:
            if time.monotonic() - answered > ANSWER_S:
                raise ClusterSilent(
                    f"the cluster has not answered for {ANSWER_S:g} s, and {name} may go on: {error}"
                ) from None
        await asyncio.sleep(1)


async def _print_from(client: Any, name: str, printed: int) -> tuple[int, bool]:
    """Print a job's log from a place on; returns up to where, and whether the server told all of it."""
    told = 0
    with contextlib.suppress(OSError, RuntimeError):  # asked for again by the caller, within a bound
        async with contextlib.aclosing(client.tail_job_logs(name)) as texts:
            while True:
                try:
                    text = await asyncio.wait_for(anext(texts), ANSWER_S)
                except StopAsyncIteration:
                    return max(told, printed), True
                print(text[max(0, printed - told) :], end="", flush=True)
                told += len(text)
    return max(told, printed), False


def logs(options: argparse.Namespace, _: list[str]) -> int:
    """Print a job's log, to its end if it runs."""
    client = _client(options.address)
    follow(client, _named(client, options.job, is_running=False))
    return OK


def stop(options: argparse.Namespace, _: list[str]) -> int:
    """End a job as Ctrl-C would and wait until it has ended."""
    client = _client(options.address)
    name = _named(client, options.job, is_running=True)
    if client.get_job_info(name).status.is_terminal():
        print(f"{name} has ended already")
        return OK
    client.stop_job(name)
    deadline = time.monotonic() + STOP_S + ANSWER_S
    while not (status := client.get_job_info(name).status).is_terminal():
        if time.monotonic() > deadline:
            raise JobError(
                f"{name} has not ended {STOP_S + ANSWER_S:g} s after it was told to; make stop again"
            )
        time.sleep(0.5)
    print(f"{name} {str(status.value).lower()}; submitting its recipe again goes on from there")
    return OK


def _named(client: Any, name: str | None, is_running: bool) -> str:
    """The job that is meant: the one named, else the only one that runs, else (for its log) the last one.

    Raises:
        JobError: there is none, or it is not clear which.
    """
    jobs = sorted(client.list_jobs(), key=lambda j: j.start_time or 0)
    ours = [j for j in jobs if str(j.submission_id).startswith(PREFIX)]
    if name:
        if name not in {j.submission_id for j in jobs}:
            known = ", ".join(str(j.submission_id) for j in ours) or "none"
            raise JobError(f"no job {name}; there are: {known}")
        return name
    running = [str(j.submission_id) for j in ours if not j.status.is_terminal()]
    if len(running) > 1:
        raise JobError(f"several jobs run: {', '.join(running)}; name one: JOB=…")
    if running:
        return running[0]
    if is_running or not ours:
        raise JobError("no job runs" if ours else "no run was submitted to this cluster")
    return str(ours[-1].submission_id)


def _client(address: str | None) -> Any:
    """A client of the cluster. Ray reads its variables when it is imported, so that is done last."""
    found = connection(os.environ, ENVIRONMENT, address)
    os.environ.update(found)
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    class BoundedClient(JobSubmissionClient):
        def _do_request(self, *arguments: Any, **options: Any) -> Any:
            return super()._do_request(*arguments, timeout=(CONNECT_S, ANSWER_S), **options)

    logging.disable(logging.INFO)
    logging.getLogger("ray._private.runtime_env.working_dir").setLevel(logging.ERROR)  # `.git` is not sent
    where = found[ADDRESS]
    try:
        return BoundedClient(where)
    except AuthenticationError as error:
        token = found.get("RAY_AUTH_TOKEN_PATH", "RAY_AUTH_TOKEN" if "RAY_AUTH_TOKEN" in found else "none")
        why = str(error).splitlines()[0]
        raise JobError(
            f"the cluster at {where} refuses this token ({token}), {why}: set RAY_AUTH_TOKEN_PATH to its file"
        ) from None
    except (OSError, RuntimeError, KeyError) as error:
        raise JobError(f"no Ray answers at {where}: {str(error).splitlines()[0]}") from None


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="jobs", description="runs as Ray jobs", allow_abbrev=False)
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    for action, help in ((submit, "run a recipe"), (logs, "print a job's log"), (stop, "end a job")):
        made = actions.add_parser(action.__name__, help=help, description=action.__doc__, allow_abbrev=False)
        made.set_defaults(action=action)
        made.add_argument("--address", help=f"http://HOST:8265; {ADDRESS}, else the cluster of `make up`")
        if action is submit:
            made.add_argument("recipe", help="a recipe's YAML file, in this checkout")
            made.add_argument("--command", default="run", choices=("run", "curate", "train"))
            made.add_argument("--detach", action="store_true", help="do not wait for its end")
            made.add_argument(
                "--install", metavar="FILE", help="requirements that the nodes lack; pip, a node each"
            )
            made.add_argument(
                "--env",
                action="append",
                default=[],
                metavar="NAME",
                help="hand a variable's value to the job",
            )
        else:
            made.add_argument("job", nargs="?", help="its name; else the one that runs")
    options, passed = parser.parse_known_args(argv)
    if passed and options.action is not submit:
        parser.error(f"unrecognized arguments: {' '.join(passed)}")
    try:
        return int(options.action(options, passed))
    except (JobError, RecipeError) as error:
        print(f"jobs: {error}", file=sys.stderr)
        return WRONG
    except ClusterSilent as error:
        print(f"jobs: {error}", file=sys.stderr)
        return FAILED


if __name__ == "__main__":
    sys.exit(main())
