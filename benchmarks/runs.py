"""A run of a recipe as benchmarks drive it: on a cluster that is joined, with engines of their choice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raysft import recipe
from raysft.runtime.budget import Watch
from raysft.runtime.driver import Run
from raysft.runtime.plan import make_plan
from raysft.runtime.progress import Progress
from raysft.runtime.segment import EngineBuilder, build_engine
from raysft.runtime.status import Status
from raysft.runtime.storage import Storage


def run_of(tree: Mapping[str, Any], capacity: Any, build: EngineBuilder = build_engine) -> Run:
    """The run of a recipe, given as its YAML would be read; nothing of it is done yet."""
    loaded = recipe.parse(dict(tree))
    storage = Storage(loaded.run_root)
    watch = Watch(storage, loaded.budget, loaded.prices)
    status = Status(storage, loaded.settings.run)
    return Run(make_plan(loaded), storage, capacity, Progress(), status, watch, build)
