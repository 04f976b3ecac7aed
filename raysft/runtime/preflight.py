"""Before any work: does the plan fit the cluster, and is all it reads there? Ray waits without a word,
for ever, for an actor that fits nowhere; so every want is compared with what the cluster can hold."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from raysft.engines.build import model_exists
from raysft.recipe import Recipe
from raysft.runtime.capacity import ONE_CPU, Capacity, Want, as_labels, fit, placed, sizes
from raysft.runtime.passes import Pass
from raysft.runtime.plan import Plan, want_of
from raysft.runtime.storage import Storage
from raysft.stores.failures import StoreError
from raysft.train.config import TrainConfig


class PreflightError(RuntimeError):
    """The plan cannot run here. `problems` lists every reason."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = list(problems)
        lines = "\n".join(f"  - {p}" for p in self.problems)
        told = f"\n{lines}" if len(self.problems) != 1 else f" {self.problems[0]}"
        super().__init__(f"this run cannot start:{told}")


def missing_models(recipe: Recipe) -> list[str]:
    """A line for each engine whose model folder is not there."""
    problems = []
    for name, spec in recipe.engines.items():
        problem = model_exists(spec)
        if problem:
            problems.append(f"engines.{name}: {problem}")
    return problems


def does_not_fit(plan: Plan, has: Capacity, with_training: bool) -> list[str]:
    """A line, with the numbers, for each want that the cluster can never meet."""
    problems = []
    engines = plan.recipe.engines
    users = {p.engine: p for p in reversed(plan.passes) if p.engine}
    for name, p in reversed(users.items()):
        want = want_of(name, engines[name])
        problems += pool_problem(f"engines.{name}", "replica", want, has) or _reading_problem(p, want, has)
    if with_training and plan.recipe.train is not None:
        train = plan.recipe.train
        problems += _training_problem(train, has)
        named = [train.samples.engine, train.samples.judge] if train.samples else []
        for name in filter(None, named):
            one = replace(want_of(name, engines[name]), count=1)
            problems += pool_problem(f"engines.{name}", "replica", one, has)
    return list(dict.fromkeys(problems))


def training_want(train: TrainConfig) -> Want:
    """The workers without which a training does not start."""
    return Want(
        "worker of the training",
        train.cpus_per_worker,
        train.gpus_per_worker,
        train.min_workers,
        train.placement,
    )


def pool_problem(path: str, one: str, want: Want, has: Capacity) -> list[str]:
    """Each of a pool's actors needs one node that has its labels and holds it."""
    there = [kind for kind in has.kinds if kind.has(want.placement)]
    each = f"{want.cpus:g} CPUs and {want.gpus:g} GPUs"
    if not there:
        return [
            f"{path}.placement: no node of {has.where} has {as_labels(want.placement)}; they have: "
            f"{labels_there(has)}"
        ]
    placing = f" with {as_labels(want.placement)}" if want.placement else ""
    cpus, gpus = max(n.cpus for n in there), max(n.gpus for n in there)
    if not any(fit([replace(want, count=1)], Capacity((kind,), "")) for kind in there):
        return [
            f"{path}: one {one} wants {each}, the largest node of {has.where}{placing} has {cpus:g} "
            f"and {gpus:g}"
        ]
    fitting = placed([want], has)[want.name]
    if fitting < want.count:
        return [
            f"{path}: {fitting} of its {want.count} {one}s, {each} each, fit on the nodes of {has.where}"
            f"{placing}, which have {sizes(there)}"
        ]
    return []


def labels_there(has: Capacity) -> str:
    """The labels of a cluster's nodes and node types, and how many have them."""
    found: Counter[str] = Counter()
    for kind in has.kinds:
        found[as_labels(kind.labels) or "no labels"] += kind.count
    return "; ".join(f"{labels} ({count})" for labels, count in sorted(found.items())) or "there are none"


def _training_problem(train: TrainConfig, has: Capacity) -> list[str]:
    want = training_want(train)
    problems = pool_problem("train", "worker", replace(want, count=1), has)
    if problems or fit([want, ONE_CPU], has):
        return problems
    cpus, gpus = want.count * want.cpus, want.count * want.gpus
    return [
        f"train: {want.count} workers want {cpus:g} CPUs and {gpus:g} GPUs, and one CPU to steer "
        f"them; {has.where} has {has.cpus:g} CPUs and {has.gpus:g} GPUs"
        + (f", on nodes of {sizes(has.kinds)}" if len(has.kinds) > 1 else "")
    ]


def _reading_problem(p: Pass, want: Want, has: Capacity) -> list[str]:
    if fit([want, ONE_CPU], has):
        return []
    cpus, gpus = want.count * want.cpus, want.count * want.gpus
    return [
        f"{p.stage}: {want.count} replica{'s' if want.count > 1 else ''} of {want.name!r} want {cpus:g} CPUs "
        f"and {gpus:g} GPUs, reading and writing one CPU; {has.where} has {has.cpus:g} CPUs and "
        f"{has.gpus:g} GPUs. Lower engines.{want.name}.replicas.min or its cpus/gpus, or use a larger cluster"
    ]


def not_writable(storage: Storage, field: str = "root") -> list[str]:
    """A line if a root that a field of the recipe names cannot be written, with the cause."""
    probe = f"_probe-{uuid.uuid4().hex[:8]}"
    try:
        storage.write_bytes(probe, b"raysft")
        storage.remove(probe)
    except Exception as error:  # any store's own error: its text is the answer
        said = str(error) if isinstance(error, StoreError) else f"{type(error).__name__}: {error}"
        return [f"{field} {storage.uri()}: cannot be written: {said}"]
    return []
