"""How a pool grows to a target: what each round asks for, and when no more is asked.

A round asks for what the target still lacks, spread evenly over the rounds that are left and divided by
the yield, the share of asked tasks that the last round kept: (kept + 1) / (asked + 1), which is 1 before
anything was asked and never 0. Nothing is asked once the target is reached, or once the pool is exhausted:
the last round kept less than `min_yield` of what it asked. A round that asked so few tasks that less than
one of them would be kept at that yield shows nothing and ends nothing.

What earlier rounds asked is not stored: it follows from what they kept. The published loop stops at a
target too (Wang et al. 2023, bootstrap_instructions.py); rounds, yields and exhaustion are our choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from raysft.stage import StageConfig, finding


class Growth(StageConfig):
    """The fields of a stage that grows its pool in rounds."""

    target: int = Field(
        ge=1, description="tasks of its own making that the stage wants kept; rounds end there"
    )
    rounds: int = Field(
        4,
        ge=1,
        le=12,
        description="rounds at most, each of which sees the tasks of those before it; our choice",
    )
    prompts_per_round: int | None = Field(
        None, ge=1, description="prompts of a round, until the target is reached; by default what it lacks"
    )
    tasks_per_prompt: int = Field(
        7,
        ge=1,
        le=50,
        description="tasks to ask for in a prompt; 7, since the published one stops at number 16",
    )
    min_yield: float = Field(
        0.02,
        gt=0,
        lt=1,
        description="share of asked tasks kept in a round below which no other asks; our choice",
    )


@dataclass(frozen=True)
class Round:
    """What a round asks for and what it kept (None: that is to come); `note` says why it asks as it does."""

    number: int
    prompts: int
    asked: int
    kept: int | None
    note: str


def rounds_of(config: Growth, kept: Sequence[int]) -> list[Round]:
    """The rounds that kept these numbers of tasks, in order, and the one after them."""
    found: list[Round] = []
    for number in range(1, len(kept) + 2):
        prompts, note = _wanted(config, number, found)
        known = kept[number - 1] if number <= len(kept) else None
        found.append(Round(number, prompts, prompts * config.tasks_per_prompt, known, note))
    return found


def table_of(config: Growth, rounds: Sequence[Round]) -> dict[str, Any]:
    """The rounds as a finding; the last one is this round."""
    columns = ("round", "prompts", "tasks asked for", "kept", "kept so far", "target", "note")
    rows, so_far = [], 0
    for r in rounds:
        so_far += r.kept or 0
        rows.append((r.number, r.prompts, r.asked, r.kept, so_far, config.target, r.note))
    return finding("Tasks asked for and kept, by round", columns, rows)


def _wanted(config: Growth, number: int, before: Sequence[Round]) -> tuple[int, str]:
    """Prompts of a round, and why so many."""
    missing = config.target - sum(r.kept or 0 for r in before)
    if missing <= 0:
        return 0, "the target is reached"
    last = next((r for r in reversed(before) if r.prompts), None)
    asked, kept = (last.asked, last.kept or 0) if last else (0, 0)
    if last and kept < config.min_yield * asked and config.min_yield * asked >= 1:
        return 0, f"exhausted: round {last.number} kept {kept} of {asked}, less than {config.min_yield:.1%}"
    if config.prompts_per_round:
        return config.prompts_per_round, "as many prompts as prompts_per_round"
    left = max(1, config.rounds - number + 1)
    prompts = _ceil(missing * (asked + 1), left * (kept + 1) * config.tasks_per_prompt)
    note = f"{missing} missing, rounds left: {left}"
    return prompts, note + (f", yield of round {last.number}: {(kept + 1) / (asked + 1):.1%}" if last else "")


def _ceil(a: int, b: int) -> int:
    return -(-a // b)
