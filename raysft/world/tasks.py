"""Instruction tasks of a small world, in English and Chinese, whose answers a program can check.

    generate(start, stop, seed, part)   rows of messages, task, domain, lang, and the truth columns below

Row i is decided by (`version()`, seed, i, part) alone, so any slice of the rows can be made anywhere. One row
in ten is a conversation of two turns (`raysft.world.turns`). See `raysft.world.check` for the truth of an
instruction and of an answer.

Truth columns, which no stage is ever given
    truth_kind         the kind of task and its language: "add.en"
    truth_difficulty   1 to 3
    truth_answer       a right answer to the last user turn
    truth_noise        names of `raysft.world.noise` that this row suffered; none here
    truth_group        rows of one number are copies of one another; here each has its own
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from random import Random
from typing import Any

from raysft.world.draw import LANGUAGES, WHOLE, Part, Pick, Task, draw, row_rng
from raysft.world.identity import world_version
from raysft.world.turns import TWO_TURNS_SHARE, follow_up


def version() -> str:
    """What decides `generate` beside its arguments; part of the rows' identity."""
    return world_version()


def generate(start: int, stop: int, seed: int, part: Part = WHOLE) -> list[dict[str, Any]]:
    """Rows start … stop-1 of the endless list that `seed` and `part` name."""
    pick = partial(draw, part=part)
    return [make_row(i, row_rng("tasks", seed, i), pick) for i in range(start, stop)]


def make_row(i: int, rng: Random, pick: Pick = draw, lang: str | None = None) -> dict[str, Any]:
    """The row that this source of chance gives, as number i of its list; `pick` draws its tasks."""
    task = pick(rng, lang or rng.choice(LANGUAGES))
    contents = [task.instruction, task.answer]
    if rng.random() < TWO_TURNS_SHARE:
        contents += follow_up(task, rng, pick)
    return row(task, contents, i)


def row(task: Task, contents: Sequence[str], group: int) -> dict[str, Any]:
    """A row of the columns that `generate` gives; user and assistant take turns in `contents`."""
    messages = [
        {"role": "assistant" if at % 2 else "user", "content": content} for at, content in enumerate(contents)
    ]
    return {
        "messages": messages,
        "task": task.kind.task,
        "domain": task.kind.domain,
        "lang": task.kind.lang,
        "truth_kind": f"{task.kind.name}.{task.kind.lang}",
        "truth_difficulty": task.level,
        "truth_answer": contents[-1],
        "truth_noise": [],
        "truth_group": group,
    }
