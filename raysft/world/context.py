"""What stands around a question and never changes its answer: people, things, places, events, scenes.

`asked` makes a kind about numbers: it draws the context that the phrasings ask for. `surroundings` are for
kinds about words. Both take any clean words in their place when they read (`is_clean`).
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
SCENE_PLACES = {"en": tuple(place for place in v.PLACES_EN if place.startswith("the ")), "zh": v.PLACES_ZH}
"""Places where something happens."""
NAMES = {"en": v.NAMES_EN, "zh": v.NAMES_ZH}
WORDS = {
    "en": {"items": v.COUNTED_EN, "place": PLACES["en"], "event": v.EVENTS_EN, "shop": v.SHOPS_EN},
    "zh": {"items": v.COUNTED_ZH, "place": PLACES["zh"], "event": v.EVENTS_ZH, "shop": v.SHOPS_ZH},
}
PEOPLE = ("name", "other")
_PATTERNS = {
    "en": ("[A-Z][a-z]+", "[A-Za-z]+(?: [A-Za-z]+){0,3}", "[A-Za-z]+(?: [A-Za-z]+){0,11}"),
    "zh": ("[\u4e00-\u9fff]{1,4}", "[\u4e00-\u9fff]{1,6}", "[\u4e00-\u9fff]{1,24}"),
}
_CLEAN = {
    lang: {
        **dict.fromkeys(PEOPLE, re.compile(name)),
        **dict.fromkeys(WORDS[lang], re.compile(words)),
        "scene": re.compile(scene),
    }
    for lang, (name, words, scene) in _PATTERNS.items()
}
"""What may stand in each slot of the context, by language."""


def drawn(lang: str, rng: Random) -> Slots:
    """Two people, and one word of each other group of the context."""
    name, other = rng.sample(NAMES[lang], 2)
    return {
        "name": name,
        "other": other,
        **{slot: rng.choice(words) for slot, words in WORDS[lang].items()},
    }


def is_clean(slots: Slots, lang: str) -> bool:
    """Whether the context among the slots is words alone, so that it swallowed no number, stop or frame."""
    return all(pattern.fullmatch(slots[slot]) for slot, pattern in _CLEAN[lang].items() if slot in slots)


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


def surroundings(rng: Random, lang: str) -> Slots:
    """Two people, a place, and a scene: a sentence without its stop, in which something happens."""
    name, other = rng.sample(NAMES[lang], 2)
    place = rng.choice(SCENE_PLACES[lang])
    return {"name": name, "other": other, "place": place, "scene": _SCENES[lang](rng)}


def _scene_en(rng: Random) -> str:
    name, other = rng.sample(v.NAMES_EN, 2)
    place, food = rng.choice(SCENE_PLACES["en"]), rng.choice(v.FOODS_EN)
    who = rng.choice((name, f"{name} and {other}", f"My friend {name}", f"Little {name}"))
    done = rng.choice(
        (
            f"met {rng.choice(v.NAMES_EN)} at {place}",
            f"had {food} for {rng.choice(('lunch', 'dinner', 'breakfast'))}",
            f"left {place} {rng.choice(('early', 'late', 'alone'))}",
            f"sold {food} at {place}",
            f"cooked {food}",
            f"waited near {place}",
        )
    )
    when = rng.choice(("", "", f" on {rng.choice(v.DAYS_EN)}", f" in {rng.choice(v.MONTHS_EN)}"))
    return f"{who} {done}{when}"


def _scene_zh(rng: Random) -> str:
    name, other = rng.sample(v.NAMES_ZH, 2)
    place, food = rng.choice(v.PLACES_ZH), rng.choice(v.FOODS_ZH)
    who = rng.choice((name, f"{name}和{other}", f"我的同学{name}"))
    done = rng.choice(
        (
            f"在{place}碰见了{rng.choice(v.NAMES_ZH)}",
            f"{rng.choice(('中午', '晚上', '早上'))}吃了{food}",
            f"在{place}卖{food}",
            f"{rng.choice(('很早', '很晚', '刚刚'))}离开了{place}",
            f"学会了做{food}",
            f"在{place}等人",
        )
    )
    when = rng.choice(("", "", rng.choice(v.DAYS_ZH), f"{rng.choice(v.MONTHS_ZH[:9])}里"))
    when = "" if any(character.isdigit() for character in when) else when
    return f"{when}{who}{done}"


_SCENES = {"en": _scene_en, "zh": _scene_zh}
