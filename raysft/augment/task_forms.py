"""The two forms in which tasks are asked for, each with its prompt, what holds a model to it, and its reader.

tasks   a numbered list of tasks, as published: Self-Instruct asks for answers afterwards
pairs   a JSON list of tasks with their answers, in one prompt that also asks for other verbs and for
        questions, requests and commands alike: the form that Chinese descriptions of the method have
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from raysft.augment import numbered_list, pair_list
from raysft.augment.generation import Unparsable
from raysft.engines.protocol import Output

Form = Literal["tasks", "pairs"]
PROMPT: dict[Form, str] = {"tasks": "self_instruct", "pairs": "self_instruct_pairs"}


@dataclass(frozen=True)
class Task:
    """A task that a model wrote, in form "pairs" with its answer. `unread` is set, and nothing else, for a
    piece of a response that is no pair."""

    instruction: str = ""
    output: str | None = None
    unread: str | None = None


def held(form: Form, shown: int, asked: int) -> dict[str, Any]:
    """Fields of `Sampling` for a prompt that shows so many examples and asks for so many tasks."""
    if form == "pairs":
        return {"json_schema": pair_list.schema(asked)}
    first, last = shown + 1, shown + asked
    # The published code stops at the number after the last; an engine that takes no pattern does the same.
    return {"pattern": numbered_list.pattern(first, last), "stop": (f"\n{last + 1}.",)}


def read(form: Form, output: Output, most: int) -> list[Task]:
    """The tasks of a response, in order.

    Raises:
        Unparsable: there is none, or there are more than `most`.
    """
    if form == "pairs":
        parts = pair_list.pairs(output.text)
        n = sum(isinstance(part, pair_list.Pair) for part in parts)
        tasks = [
            Task(part.instruction, part.output) if isinstance(part, pair_list.Pair) else Task(unread=part)
            for part in parts
        ]
        what = "tasks with answers"
    else:
        tasks = [Task(text) for text in numbered_list.items(output.text)]
        n, what = len(tasks), "numbered items"
    if n < 1 or len(tasks) > most:
        raise Unparsable(f"{n if n < 1 else len(tasks)} {what}")
    return tasks
