"""A whole run, from a recipe to its report: what the command line and the jobs call."""

from __future__ import annotations

import contextlib
import functools
import signal
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raysft.recipe import Recipe
from raysft.report.cards import CardFacts, dataset_card
from raysft.report.figures import share
from raysft.report.page import render
from raysft.report.view import RunView, totals
from raysft.runtime import curated, driver, preflight, view
from raysft.runtime.budget import OverBudget
from raysft.runtime.capacity import ONE_CPU
from raysft.runtime.cluster import connected
from raysft.runtime.driver import Run
from raysft.runtime.lease import Lease, LeaseLost, leased
from raysft.runtime.manifest import Manifest, manifest_digest, parents_of, read_manifest
from raysft.runtime.plan import Plan, make_plan
from raysft.runtime.progress import Progress
from raysft.runtime.segment import EngineBuilder, build_engine
from raysft.runtime.stage_cache import unreachable
from raysft.runtime.status import Status
from raysft.runtime.storage import Storage
from raysft.runtime.terminal import log_path, terminal_kept

REPORT = "report/index.html"
RESULT = "train/result.json"


@dataclass(frozen=True)
class Outcome:
    """A finished run: what its reports are made from, and where things are."""

    view: RunView
    paths: Mapping[str, str]


class NotSealed(RuntimeError):
    """A command needs stages that no run has sealed yet."""


def run_recipe(
    recipe: Recipe,
    *,
    until: str | None = None,
    address: str | None = None,
    trains: bool = True,
    progress: Progress | None = None,
    build_engine: EngineBuilder = build_engine,
) -> Outcome:
    """Run a recipe to its end, or up to and with the stage `until`; training only where `trains`.

    Raises:
        LookupError: there is no stage `until`.
        LeaseHeld: another driver runs it.
        LeaseLost: another driver took it over; this one sealed nothing since.
        PreflightError, TooManyBadRows, …: also told in the run's status.json.
    """
    plan = make_plan(recipe)
    if until is not None:
        plan = plan.until(until)
    trains = trains and until is None and recipe.train is not None
    storage = Storage(recipe.run_root)
    problems = [*preflight.not_writable(storage), *unreachable(recipe.settings.cache)]
    if problems:
        raise preflight.PreflightError(problems)
    outcomes: list[Outcome] = []

    def finish(run: Run) -> None:
        outcomes.append(_finish(run, trains))

    log = log_path(recipe.settings.run)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_sigterm_as_ctrl_c())
        lease = stack.enter_context(leased(storage))
        status = Status(storage, recipe.settings.run, lease.holder.epoch)
        stack.enter_context(_told(status, lease, log))
        terminal = stack.enter_context(terminal_kept(log))
        status.begin()
        driver.start(
            plan,
            storage,
            functools.partial(connected, address),
            progress or Progress(terminal),
            status,
            with_training=trains,
            finish=finish,
            build_engine=build_engine,
            check_lease=lease.check,
        )
        lease.check()
        status.succeeded(_numbers(outcomes[0].view), until)
    return outcomes[0]


@contextlib.contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    """SIGTERM stops a run as Ctrl-C does."""
    is_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, signal.default_int_handler) if is_main else None
    try:
        yield
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _told(status: Status, lease: Lease, log: Path) -> Iterator[None]:
    """Tell in status.json how a run ended, but not once the folder is another driver's."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):  # Ray Train's handler of Ctrl-C ends in the latter
        lease.check()  # a lost lease interrupts too
        status.stopped()
        raise KeyboardInterrupt from None
    except LeaseLost:
        raise
    except OverBudget as error:
        lease.check()
        status.over_budget(error)
        raise
    except Exception as error:
        error.add_note(f"what Ray and libraries printed: {log}")
        with contextlib.suppress(OSError, LeaseLost):  # a root that cannot be written is told here
            lease.check()
            status.failed(error)
        raise
    else:
        log.unlink(missing_ok=True)


def _finish(run: Run, trains: bool) -> Outcome:
    """The curated set, training and the report."""
    run.check_lease()
    run.nodes.needs([ONE_CPU])
    languages = curated.export_curated(run.storage, run.sealed)
    training = None
    paths = {"curated set": run.storage.uri(curated.FOLDER)}
    if trains and run.recipe.train is not None:
        from raysft.runtime.side_by_side import with_samples
        from raysft.runtime.training import train_run

        run.check_lease()
        run.status.running("train")
        run.nodes.needs([preflight.training_want(run.recipe.train), ONE_CPU])
        training = train_run(
            run.storage, run.sealed, run.recipe.train, run.recipe.settings, run.progress, run.watch
        )
        training = with_samples(
            run.storage,
            run.sealed,
            run.recipe,
            training,
            run.build_engine,
            run.progress.note,
            run.watch.session,
        )
        run.check_lease()
        run.storage.write_json(RESULT, training)
        paths[run.recipe.train.method.exports] = training["folder"]
        if "merged_folder" in training:
            paths["merged model"] = training["merged_folder"]
    run.check_lease()
    seen = report(run.plan, run.storage, run.sealed, training, languages)
    paths["report"] = run.storage.uri(REPORT)
    return Outcome(seen, paths)


def report(
    plan: Plan,
    storage: Storage,
    sealed: list[Manifest],
    training: Mapping[str, Any] | None,
    languages: Mapping[str, int],
) -> RunView:
    """Write the report page and the dataset card; returns what they were made from."""
    rows = curated.read_curated(storage)
    seen = view.run_view(plan, storage, sealed, rows, training)
    storage.write_bytes(REPORT, render(seen).encode("utf-8", "replace"))
    facts = CardFacts(
        sources=view.source_facts(storage, sealed[0]),
        languages=languages,
        tasks=view.tasks_of(rows),
        digest=manifest_digest(sealed[-1]),
    )
    card = dataset_card(seen, facts)
    storage.write_bytes(f"{curated.FOLDER}/README.md", card.encode("utf-8", "replace"))
    return seen


def _numbers(seen: RunView) -> dict[str, Any]:
    """The numbers that status.json and _SUCCESS keep."""
    sums = totals(seen)
    numbers: dict[str, Any] = {**sums.__dict__, "unaccounted": sums.unaccounted}
    if seen.training:
        numbers |= {name: seen.training.get(name) for name in ("loss_before", "loss_after")}
        asked = seen.training.get("exact_match") or {}
        numbers |= {f"exact_match_{name}": share(asked[name]) for name in ("before", "after") if asked}
    return numbers


def sealed_of(plan: Plan, storage: Storage) -> list[Manifest]:
    """The sealed stages of a plan, in order, up to the first that is not, or whose parent was made again."""
    found: list[Manifest] = []
    for p in plan.all_passes:
        known = read_manifest(storage, p.folder)
        if known is None or known.parents != parents_of(found):
            break
        found.append(known)
    return found
