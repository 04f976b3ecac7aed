"""Before any work: does the plan fit the cluster, and is all it reads there? Ray waits without a word,
for ever, for an actor that fits nowhere; so every want is compared with what the cluster can hold."""

from __future__ import annotations

import uuid
from collections.abc import Iterable

from raysft.engines.build import model_exists
from raysft.engines.spec import Engine
from raysft.recipe import Recipe
from raysft.runtime.cluster import Capacity
from raysft.runtime.passes import Pass
from raysft.runtime.plan import Plan, resources
from raysft.runtime.storage import Storage
from raysft.stores.failures import StoreError
from raysft.train.config import TrainConfig

ROUNDING = 1e-6  # 0.3 / 0.1 is a little less than 3


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
    users = {p.engine: p for p in reversed(plan.passes) if p.engine}
    for name, p in reversed(users.items()):
        one = _replica_problem(name, plan.recipe.engines[name], has)
        problems += one or _pool_problem(p, plan, has)
    if with_training and plan.recipe.train is not None:
        problems += _training_problem(plan.recipe.train, has)
        asked = plan.recipe.train.samples
        named = [asked.engine, asked.judge] if asked else []
        for engine in filter(None, named):
            problems += _replica_problem(engine, plan.recipe.engines[engine], has)
    return list(dict.fromkeys(problems))


def _replica_problem(name: str, spec: Engine, has: Capacity) -> list[str]:
    """Each replica needs one node that holds it, and Ray packs no replica across two GPUs' shares."""
    if spec.gpus > 1 and spec.gpus != int(spec.gpus):
        return [f"engines.{name}.gpus: got {spec.gpus:g}; allowed: a share of one GPU or whole GPUs"]
    if spec.cpus > has.node_cpus or spec.gpus > has.node_gpus:
        return [
            f"engines.{name}: one replica wants {spec.cpus:g} CPUs and {spec.gpus:g} GPUs, "
            f"the largest node of {has.where} has {has.node_cpus:g} and {has.node_gpus:g}"
        ]
    fitting = sum(_copies(spec.cpus, spec.gpus, *node) for node in has.nodes)
    if has.nodes and fitting < spec.replicas.min:
        nodes = ", ".join(f"{cpus:g} CPUs and {gpus:g} GPUs" for cpus, gpus in has.nodes)
        return [
            f"engines.{name}: {fitting} of its {spec.replicas.min} replicas, {spec.cpus:g} CPUs and "
            f"{spec.gpus:g} GPUs each, fit on the nodes of {has.where}, which have {nodes}"
        ]
    return []


def _copies(cpus: float, gpus: float, node_cpus: float, node_gpus: float) -> int:
    """How many workers of this size one node holds; several share a GPU only if each wants part of one."""
    by_cpus = int(node_cpus / cpus + ROUNDING)
    if not gpus:
        return by_cpus
    by_gpus = int(node_gpus) * int(1 / gpus + ROUNDING) if gpus < 1 else int(node_gpus / gpus)
    return min(by_cpus, by_gpus)


def _training_problem(train: TrainConfig, has: Capacity) -> list[str]:
    each = f"{train.cpus_per_worker:g} CPUs and {train.gpus_per_worker:g} GPUs"
    if train.cpus_per_worker > has.node_cpus or train.gpus_per_worker > has.node_gpus:
        return [
            f"train: one worker wants {each}, "
            f"the largest node of {has.where} has {has.node_cpus:g} and {has.node_gpus:g}"
        ]
    workers = train.min_workers
    cpus, gpus = workers * train.cpus_per_worker, workers * train.gpus_per_worker
    if cpus + 1 > has.cpus or gpus > has.gpus:
        return [
            f"train: {workers} workers want {cpus:g} CPUs and {gpus:g} GPUs, and one CPU to steer "
            f"them; {has.where} has {has.cpus:g} CPUs and {has.gpus:g} GPUs"
        ]
    return []


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
