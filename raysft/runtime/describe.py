"""`raysft plan`: what a recipe would do, what of it is sealed, and whether the cluster can hold it."""

from __future__ import annotations

import os
from contextlib import nullcontext
from dataclasses import asdict
from typing import Any

from raysft.recipe import Recipe
from raysft.runtime import preflight
from raysft.runtime.capacity import Capacity
from raysft.runtime.cluster import connected, local_capacity
from raysft.runtime.driver import label
from raysft.runtime.estimate import Estimate, StageEstimate, as_lines, estimate
from raysft.runtime.manifest import read_manifest
from raysft.runtime.plan import make_plan, operators, resources, segments
from raysft.runtime.rates import read_earlier
from raysft.runtime.stage_cache import states_of, unreachable
from raysft.runtime.storage import Storage
from raysft.train.config import TrainConfig
from raysft.train.token_config import token_notes


def describe(recipe: Recipe, address: str | None = None, rates: str | None = None) -> dict[str, Any]:
    """The plan of a recipe as JSON values; nothing is run, and Ray is joined only where there is one. It is
    estimated by the run at `rates`, where given.

    Raises:
        LookupError: there is no run at `rates`.
    """
    earlier = read_earlier(rates) if rates else None
    problems = preflight.missing_models(recipe)
    plan = make_plan(recipe)
    storage = Storage(recipe.run_root)
    joined = address or os.environ.get("RAY_ADDRESS")
    with connected(address) if joined else nullcontext(local_capacity()) as has:
        problems += preflight.does_not_fit(plan, has, with_training=True)
        cut = segments(plan, has)
    cannot = unreachable(recipe.settings.cache)
    problems += cannot
    states = states_of(plan, storage, with_cache=not cannot)
    manifests = {p.folder: read_manifest(storage, p.folder) for p in plan.all_passes}
    sealed = {folder: m for folder, m in manifests.items() if m is not None}
    labels = {p.folder: label(p.folder) for p in plan.all_passes}
    of = {p.folder: i for i, segment in enumerate(cut, 1) for p in segment}
    stages = [
        {
            "stage": p.stage,
            "label": label(p.folder),
            "folder": p.folder,
            "fingerprint": p.fingerprint,
            "engine": p.engine,
            "writes": p.writes,
            "segment": of.get(p.folder, 0),
            "is_sealed": states[p.folder] == "sealed",
            "is_in_cache": states[p.folder] == "in cache",
        }
        for p in plan.all_passes
    ]
    wants = [resources(segment, recipe.engines) for segment in cut]
    return {
        "run": recipe.settings.run,
        "root": storage.uri(),
        "sources": [{"uri": unit.uri, "bytes": unit.bytes} for _, unit in plan.units],
        "notes": [*plan.notes, *(token_notes(recipe.train) if recipe.train else [])],
        "stages": stages,
        "segments": [
            {"pools": [o.engine or "tasks" for o in operators(s)], "cpus": c, "gpus": g}
            for s, (c, g) in zip(cut, wants, strict=True)
        ],
        "training": _training(recipe.train) if recipe.train else [],
        "estimate": asdict(estimate(plan, cut, earlier, sealed, labels)),
        "cluster": _capacity(has),
        "problems": problems,
    }


def _training(config: TrainConfig) -> list[str]:
    """How much is trained, and what it takes of each worker's memory at most, where the model is at hand."""
    # transformers, which is behind them, is slow to import.
    import torch

    from raysft.runtime.packing import model_config_source
    from raysft.train.loop import uses_bfloat16
    from raysft.train.memory import estimate, size_of_run

    try:
        size = size_of_run(config, model_config_source(config), is_local=True)
    except OSError:
        return [f"memory is not known, since the config of {config.model} is not on this machine"]
    has_gpu = config.gpus_per_worker > 0
    is_half = (
        config.precision != "float32" if has_gpu else uses_bfloat16(config.precision, torch.device("cpu"))
    )
    shards = config.min_workers if config.distribution == "fsdp" else 1
    device = "cuda" if has_gpu else "cpu"
    memory = estimate(size, config, is_half=is_half, device_type=device, shards=shards)
    return [
        f"{size.trained:,} of {size.parameters:,} parameters trained ({config.method.kind})",
        f"at most {memory} on each of {config.workers} workers",
    ]


def _capacity(has: Capacity) -> dict[str, Any]:
    return {"where": has.where, "cpus": has.cpus, "gpus": has.gpus}


def as_text(shown: dict[str, Any]) -> str:
    """The plan for a terminal."""
    size = sum(s["bytes"] or 0 for s in shown["sources"])
    lines = [
        f"{shown['run']} → {shown['root']}",
        f"  {len(shown['sources'])} source units, {size / 2**20:,.1f} MiB",
        *(f"  {note}" for note in shown["notes"]),
        "",
        f"  {'stage':<26} {'segment':>7}  {'engine':<12} {'fingerprint':<12}  state",
    ]
    for s in shown["stages"]:
        state = "in the cache" if s["is_in_cache"] else "sealed, skipped" if s["is_sealed"] else "to do"
        place = f"{s['segment'] or '':>7}  {s['engine'] or '':<12} {s['fingerprint'][:12]}"
        lines.append(f"  {s['label']:<26} {place}  {state}")
    has = shown["cluster"]
    lines.append("")
    for i, s in enumerate(shown["segments"], 1):
        pools = " → ".join(s["pools"])
        lines.append(f"  segment {i}: {pools}; wants {s['cpus'] + 1:g} CPUs, {s['gpus']:g} GPUs at the least")
    lines.append(f"  {has['where']} has {has['cpus']:g} CPUs, {has['gpus']:g} GPUs")
    lines += [f"  train: {line}" for line in shown["training"]]
    told = shown["estimate"]
    stages = tuple(StageEstimate(**s) for s in told["stages"])
    found = Estimate(stages, StageEstimate(**told["total"]), tuple(told["notes"]), told["currency"])
    lines += ["", *as_lines(found)]
    if shown["problems"]:
        lines += ["", "  this run cannot start:", *(f"  - {p}" for p in shown["problems"])]
    return "\n".join(lines)
