"""Sources of `kind: world`: rows that `raysft.world` makes up, with their truth columns."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, Self

import pyarrow as pa
from pydantic import Field, model_validator

from raysft.acquire.language import guess_language
from raysft.acquire.unit import Acquired, Unit, origin
from raysft.sample import SCHEMA, TRUTH_PREFIX, acquired_id, digest, samples
from raysft.stage import StrictModel
from raysft.world import noise as noisy_tasks
from raysft.world.draw import HARDEST, WHOLE, MaxDifficulty, Part, Tasks
from raysft.world.noise import Noise, unsuited

TRUTH = pa.schema(
    [
        ("truth_kind", pa.string()),
        ("truth_difficulty", pa.int32()),
        ("truth_answer", pa.string()),
        ("truth_noise", pa.list_(pa.string())),
        ("truth_group", pa.int64()),
    ]
)
"""Columns of a world's acquired rows beyond `SCHEMA`, null where its generator does not tell them:
the kind of task, its difficulty from 1 to 3, a right answer, names of `raysft.world.noise` that the row
suffered, and the number of the row that it is a copy of, its own if of none."""


class WorldSource(StrictModel):
    """Rows that `raysft.world` makes up: tasks with their answers, or what teaches a model our prompts."""

    kind: Literal["world"]
    set: Literal["tasks", "held_out", "teacher"] = Field(
        "tasks", description="the module of raysft.world that makes the rows"
    )
    rows: int = Field(ge=1, description="how many tasks")
    seed: int = Field(description="which world")
    noise: Noise | None = Field(None, description="rates of what is wrong with the tasks; set: tasks only")
    tasks: Tasks = None
    max_difficulty: MaxDifficulty = HARDEST
    rows_per_unit: int = Field(2000, ge=1, description="rows of a unit; ids depend on it")

    @property
    def part(self) -> Part:
        """The part of the world that the rows are of."""
        return Part(self.tasks, self.max_difficulty)

    @model_validator(mode="after")
    def _fields_fit(self) -> Self:
        problems = []
        if self.noise is not None and self.set != "tasks":
            problems.append(
                f"noise is added to set: tasks only, not to set: {self.set}; leave out one of them"
            )
        if self.part != WHOLE and self.set == "teacher":
            problems.append(
                "tasks and max_difficulty narrow set: tasks and set: held_out, not set: teacher; "
                "leave them out or choose another set"
            )
        if self.noise is not None:
            problems += unsuited(self.noise, self.part)
        if problems:
            raise ValueError("; ".join(problems))
        return self


def expand(source: WorldSource) -> list[Unit]:
    """Row ranges of the world."""
    version, _ = _world(source)
    name = f"world:{source.set}:{source.seed}"
    units = []
    for start in range(0, source.rows, source.rows_per_unit):
        stop = min(start + source.rows_per_unit, source.rows)
        units.append(Unit(name, f"{name}:{start}:{stop}:{version}", 0, start, stop))
    return units


def read(source: WorldSource, unit: Unit) -> Acquired:
    """The rows of one range; none of them is bad."""
    start, stop = unit.start or 0, unit.stop or source.rows
    rows, truths = [], []
    _, generate = _world(source)
    for at, made in enumerate(generate(start, stop), start):
        text = "\n".join(m["content"] for m in made["messages"])
        told = {name: value for name, value in made.items() if not name.startswith(TRUTH_PREFIX)}
        own = {"id": acquired_id(unit.content, at), "source": origin(unit, at, None)}
        rows.append({"lang": guess_language(text), **told, **own})
        truths.append(made)
    table = samples(rows) if rows else SCHEMA.empty_table()
    for field in TRUTH:
        table = table.append_column(field, pa.array([t.get(field.name) for t in truths], field.type))
    return Acquired(table, [], "world")


def _world(source: WorldSource) -> tuple[str, Callable[[int, int], list[dict[str, Any]]]]:
    """What decides a world's rows beside its set, its seed and their numbers, and the function that makes
    rows start … stop-1."""
    is_whole = source.part == WHOLE
    told = "" if is_whole else f":{source.part.digest}"
    arguments = {"seed": source.seed} if is_whole else {"seed": source.seed, "part": source.part}
    if source.noise is not None:
        rates = digest(source.noise.model_dump_json())
        make = partial(noisy_tasks.generate, noise=source.noise, **arguments)
        return f"{noisy_tasks.version()}:{rates}{told}", make
    # Imported late: recipes without this set need not load it.
    world = importlib.import_module(f"raysft.world.{source.set}")
    return world.version() + told, partial(world.generate, **arguments)
