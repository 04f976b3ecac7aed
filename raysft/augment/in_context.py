"""Examples for prompts: rows of the pool that a model is shown before it writes tasks of its own.

Self-Instruct draws them uniformly: 8 a prompt, at most 2 of them machine-made, in any order (Wang et al.
2023, section 2.2). A kind of task that the pool has much of is then shown much, written much, and has more
of the pool in the next round. `by_kind` works against that: kinds are drawn evenly, and then a row of the
kind, so that the examples of a prompt are of different kinds as far as there are kinds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raysft.algorithms.words import CJK_CHARACTER, tokens, word_count
from raysft.augment.generation import row_language
from raysft.sample import digest64, instruction_of


@dataclass(frozen=True)
class Example:
    """A row that may stand in a prompt."""

    id: str
    text: str
    lang: str
    kind: str
    is_machine: bool


Kinds = list[list[Example]]


@dataclass(frozen=True)
class Examples:
    """Groups of examples by language: machine-made ones, and people's; `langs` has each example's, sorted."""

    machine: Mapping[str, Kinds]
    people: Mapping[str, Kinds]
    langs: Sequence[str]


def examples_of(rows: Iterable[Mapping[str, Any]], max_words: int, by_kind: bool) -> Examples:
    """The rows (id, messages, lang, task, op) with an instruction of up to `max_words`. A row with an `op`
    is machine-made. Without `by_kind` all rows of a language are one group."""
    machine: dict[str, dict[str, list[Example]]] = {}
    people: dict[str, dict[str, list[Example]]] = {}
    langs = []
    for row in rows:
        # One line a task: a line break would end it in the prompt's numbered list.
        text = " ".join(instruction_of(row["messages"]).split())
        if text and word_count(text) <= max_words:
            lang = row_language(row["lang"], text)
            example = Example(row["id"], text, lang, kind_of(row["task"], text), row["op"] is not None)
            of_lang = (machine if example.is_machine else people).setdefault(lang, {})
            of_lang.setdefault(example.kind if by_kind else "", []).append(example)
            langs.append(lang)
    return Examples(_groups(machine), _groups(people), sorted(langs))


def kind_of(task: str | None, text: str) -> str:
    """What a task is about, roughly: its label, else its first word, or first two Chinese characters."""
    if task:
        return task
    words = tokens(text)
    return "".join(words[:2]) if words and CJK_CHARACTER.match(words[0]) else "".join(words[:1])


def pick(examples: Examples, lang: str, n: int, of_machine: int, *chance: object) -> list[Example]:
    """n examples of one language, up to `of_machine` of them machine-made, the others people's, in an
    order that chance decides; fewer where there are no more."""
    picked = _pick_spread(examples.machine.get(lang, []), of_machine, *chance, "machine")
    picked += _pick_spread(examples.people.get(lang, []), n - len(picked), *chance, "people")
    return [picked[i] for i in draw(len(picked), len(picked), *chance, "order")]


def draw(population: int, n: int, *chance: object) -> list[int]:
    """n different numbers below `population` (all if n is larger), in an order that chance decides. The
    first numbers of a longer draw are those of a shorter one."""
    moved: dict[int, int] = {}
    drawn = []
    for i in range(min(n, population)):
        j = i + digest64(*chance, i) % (population - i)
        drawn.append(moved.get(j, j))
        moved[j] = moved.get(i, i)
    return drawn


def _pick_spread(groups: Kinds, n: int, *chance: object) -> list[Example]:
    """n examples: one of each of n groups, and where there are fewer groups, second ones and so on."""
    picked: list[Example] = []
    lap, left = 0, groups
    while left and len(picked) < n:
        for at in draw(len(left), n - len(picked), *chance, "kind", lap):
            group = left[at]
            picked.append(group[draw(len(group), lap + 1, *chance, group[0].id)[lap]])
        lap += 1
        left = [group for group in left if len(group) > lap]
    return picked


def _groups(by_lang: Mapping[str, Mapping[str, list[Example]]]) -> dict[str, Kinds]:
    return {lang: list(groups.values()) for lang, groups in by_lang.items()}
