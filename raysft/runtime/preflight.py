"""Before any work: does the plan fit the cluster, and is all it reads there? Ray waits without a word,
for ever, for an actor that fits nowhere; so every want is compared with what the cluster can hold."""

from __future__ import annotations

import uuid
from collections.abc import Iterable

from raysft.engines.build import model_exists
from raysft.recipe import Recipe
from raysft.runtime.cluster import Capacity
from raysft.runtime.plan import Pass, Plan, resources
from raysft.runtime.storage import Storage


class PreflightError(RuntimeError):
    """The plan cannot run here. `problems` lists every reason."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = list(problems)
        super().__init__("this run cannot start:\n" + "\n".join(f"  - {p}" for p in self.problems))


def missing_models(recipe: Recipe) -> list[str]:
    """A line for each engine, or training run, whose model folder is not there."""
    problems = []
    for name, spec in recipe.engines.items():
        problem = model_exists(spec)
        if problem:
            problems.append(f"engines.{name}: {problem}")
    return problems


def does_not_fit(plan: Plan, has: Capacity, with_training: bool) -> list[str]:
    """A line, with the numbers, for each want that the cluster can never meet."""
    problems = []
    used = list(dict.fromkeys(p.engine for p in plan.passes if p.engine))
    for name in used:
        spec = plan.recipe.engines[name]
        if spec.cpus > has.node_cpus or spec.gpus > has.node_gpus:
            problems.append(
                f"engines.{name}: one replica wants {spec.cpus:g} CPUs and {spec.gpus:g} GPUs, "
                f"the largest node of {has.where} has {has.node_cpus:g} and {has.node_gpus:g}"
            )
    for p in plan.passes:
        problems += _pool_problem(p, plan, has)
    train = plan.recipe.train
    if with_training and train is not None:
        cpus, gpus = train.workers * train.cpus_per_worker, train.workers * train.gpus_per_worker
        if cpus + 1 > has.cpus or gpus > has.gpus:
            problems.append(
                f"train: {train.workers} workers want {cpus:g} CPUs and {gpus:g} GPUs, and one CPU to steer "
                f"them; {has.where} has {has.cpus:g} CPUs and {has.gpus:g} GPUs"
            )
    return list(dict.fromkeys(problems))


def _pool_problem(p: Pass, plan: Plan, has: Capacity) -> list[str]:
    if p.engine is None:
        return []
    cpus, gpus = resources([p], plan.recipe.engines)
    if cpus + 1 <= has.cpus and gpus <= has.gpus:
        return []
    least = plan.recipe.engines[p.engine].replicas.min
    return [
        f"{p.stage}: {least} replica{'s' if least > 1 else ''} of {p.engine!r} want {cpus:g} CPUs and "
        f"{gpus:g} GPUs, reading and writing one CPU; {has.where} has {has.cpus:g} CPUs and "
        f"{has.gpus:g} GPUs. Lower engines.{p.engine}.replicas.min or its cpus/gpus, or use a larger cluster"
    ]


def not_writable(storage: Storage) -> list[str]:
    """A line if the run's root cannot be written, with the cause."""
    probe = f"_probe-{uuid.uuid4().hex[:8]}"
    try:
        storage.write_bytes(probe, b"raysft")
        storage.remove(probe)
    except Exception as error:  # any store's own error: its text is the answer
        return [f"root {storage.uri()}: cannot be written: {type(error).__name__}: {error}"]
    return []
