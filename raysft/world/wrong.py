"""A wrong answer that looks like a right one."""

from __future__ import annotations

from random import Random

from raysft.world.check import is_right, known_truth
from raysft.world.draw import Task

TRIES = 20
NEAR_SHARE = 0.5
"""Wrong numbers that are off by a little, not another task's answer."""


def wrong_answer(task: Task, rng: Random) -> str:
    """An answer of the task's kind that `check` refuses: a number nearby, or another task's answer."""
    known = known_truth(task)
    for _ in range(TRIES):
        if task.answer.isdecimal() and rng.random() < NEAR_SHARE:
            answer = str(abs(int(task.answer) + rng.choice((-3, -2, -1, 1, 2, 3))))
        else:
            level = rng.choice(task.kind.levels)
            answer = task.kind.solve(task.kind.sample(rng, level)) or ""
        if answer and not is_right(answer, known):
            return answer
    # Kinds with one answer to all tasks: a part of it is wrong as well.
    return task.answer[: max(1, len(task.answer) // 2)] if len(task.answer) > 1 else f"{task.answer}?"
