"""Tasks for measuring a model: instructions that `raysft.world.tasks` never gives, in the same columns."""

from __future__ import annotations

from functools import partial
from typing import Any

from raysft.world import tasks
from raysft.world.draw import WHOLE, Part, draw, row_rng


def version() -> str:
    """What decides `generate` beside its arguments; part of the rows' identity."""
    return tasks.version()


def generate(start: int, stop: int, seed: int, part: Part = WHOLE) -> list[dict[str, Any]]:
    """Rows start … stop-1 of the endless list of held-out tasks that `seed` and `part` name."""
    pick = partial(draw, held_out=True, part=part)
    return [tasks.make_row(i, row_rng("held out", seed, i), pick) for i in range(start, stop)]
