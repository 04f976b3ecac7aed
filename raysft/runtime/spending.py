"""What a run cost, by engine and by stage, as plain data for its reports.

An engine's cost is that of all the time its processes were alive, whether they had work or not, and of its
tokens. It is shared among its stages by the engine time of their committed rows; so what went into attempts
that were lost is shared with it, and what a barrier held an engine for stands under the engine alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from raysft.costs import Prices
from raysft.runtime.budget import cost_of
from raysft.runtime.ledger import Spent, Used
from raysft.runtime.manifest import Manifest


def spending(spent: Spent, manifests: Sequence[Manifest], prices: Prices) -> dict[str, Any]:
    """`engines`, `stages` and `total`; every line has gpu_hours, cpu_hours and cost. `currency` is "" where
    nothing has a price."""
    engines = {name: _line(used, prices, name) for name, used in spent.engines.items()}
    if spent.training.processes:
        engines["training"] = _line(spent.training, prices, None)
    tasks = sum(spent.tasks.values()) / 3600
    return {
        "currency": "" if prices.is_free else prices.currency,
        "starts": spent.starts,
        "hours": spent.hours,
        "engines": engines,
        "tasks": {"cpu_hours": tasks, "cost": prices.cost(cpu_hours=tasks)},
        "stages": [_stage(m, spent, manifests, engines, prices) for m in manifests],
        "total": {
            "gpu_hours": spent.gpu_hours,
            "cpu_hours": spent.cpu_hours,
            "tokens": spent.tokens,
            "cost": cost_of(spent, prices),
        },
    }


def _line(used: Used, prices: Prices, name: str | None) -> dict[str, Any]:
    gpu_hours, cpu_hours = used.gpu_seconds / 3600, used.cpu_seconds / 3600
    usage = used.usage
    return {
        "processes": used.processes,
        "alive_hours": used.alive_seconds / 3600,
        "busy_share": usage.engine_seconds / used.alive_seconds if name and used.alive_seconds else None,
        "start_share": used.start_seconds / used.alive_seconds if name and used.alive_seconds else None,
        "gpu_hours": gpu_hours,
        "cpu_hours": cpu_hours,
        "requests": usage.requests,
        "tokens_in": usage.tokens_in,
        "tokens_out": usage.tokens_out,
        "cost": prices.cost(gpu_hours, cpu_hours, name, usage.tokens_in, usage.tokens_out),
    }


def _stage(
    m: Manifest, spent: Spent, manifests: Sequence[Manifest], engines: dict[str, Any], prices: Prices
) -> dict[str, Any]:
    tasks = spent.tasks.get(m.folder, 0.0) / 3600
    told = {"gpu_hours": 0.0, "cpu_hours": tasks, "cost": prices.cost(cpu_hours=tasks)}
    for name in m.engines:
        of_all = sum(other.usage.engine_seconds for other in manifests if name in other.engines)
        share = m.usage.engine_seconds / of_all if of_all else 0.0
        for what in told:
            told[what] += share * engines.get(name, {}).get(what, 0.0)
    label = m.folder.rsplit("/", 1)[-1].rsplit("-", 1)[0]
    used = m.usage
    return {
        "label": label,
        "engine": next(iter(m.engines), None),
        "requests": used.requests,
        "tokens_in": used.tokens_in,
        "tokens_out": used.tokens_out,
        "engine_seconds": used.engine_seconds,
        **told,
    }
