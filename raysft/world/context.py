"""Kinds whose numbers stand among people, things, places and events that do not change the answer.

`asked` makes such a kind: it draws the context that the phrasings ask for, and takes any clean words in
its place when it reads, since an answer never depends on them.
"""

from __future__ import annotations

import re
from random import Random

from raysft.world import vocabulary as v
from raysft.world.kind import Kind, Sample, Slots, Solve

COMMA = {"en": ", ", "zh": "、"}
LEVELS = (1, 2, 3)
PLACES = {
    "en": tuple(p for p in v.PLACES_EN if p != "home"),
    "zh": tuple(p for p in v.PLACES_ZH if p != "家里"),
}
"""Places that one goes to and comes from; home is asked for in other words."""
NAMES = {"en": v.NAMES_EN, "zh": v.NAMES_ZH}
WORDS = {
    "en": {"items": v.COUNTED_EN, "place": PLACES["en"], "event": v.EVENTS_EN, "shop": v.SHOPS_EN},
    "zh": {"items": v.COUNTED_ZH, "place": PLACES["zh"], "event": v.EVENTS_ZH, "shop": v.SHOPS_ZH},
}
PEOPLE = ("name", "other")
_CLEAN = {"en": re.compile(r"[A-Za-z]+(?: [A-Za-z]+){0,3}"), "zh": re.compile("[\u4e00-\u9fff]{1,6}")}
_NAME = {"en": re.compile("[A-Z][a-z]+"), "zh": re.compile("[\u4e00-\u9fff]{1,4}")}


def drawn(lang: str, rng: Random) -> Slots:
    """Two people, and one word of each other group of the context."""
    name, other = rng.sample(NAMES[lang], 2)
    return {
        "name": name,
        "other": other,
        **{slot: rng.choice(words) for slot, words in WORDS[lang].items()},
    }


def is_clean(slots: Slots, lang: str) -> bool:
    """Whether the context among the slots is words alone: no number, no stop, no frame."""
    people = all(_NAME[lang].fullmatch(slots[slot]) for slot in PEOPLE if slot in slots)
    return people and all(_CLEAN[lang].fullmatch(slots[slot]) for slot in WORDS[lang] if slot in slots)


def asked(
    lang: str,
    name: str,
    group: tuple[str, str],
    phrasings: tuple[str, ...],
    sample: Sample,
    solve: Solve,
    sentence: str = "",
    levels: tuple[int, ...] = LEVELS,
) -> Kind:
    """A kind of (task, domain) `group`, in whose phrasings the slots of `drawn` may stand."""
    used = [slot for slot in (*PEOPLE, *WORDS[lang]) if any(f"{{{slot}}}" in text for text in phrasings)]

    def sample_in_context(rng: Random, level: int) -> Slots:
        context = drawn(lang, rng)
        return {**{slot: context[slot] for slot in used}, **sample(rng, level)}

    def solve_in_context(slots: Slots) -> str | None:
        return solve(slots) if is_clean(slots, lang) else None

    return Kind(name, *group, lang, phrasings, sample_in_context, solve_in_context, sentence, levels=levels)
