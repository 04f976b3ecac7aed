"""Lists of words as they are written, and little scenes that stand before a question.

In English "lamp, frog, key" or "France, Peru and Kenya"; in Chinese “灯、青蛙” or “法国、秘鲁和肯尼亚”.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from random import Random

from raysft.world import vocabulary as v
from raysft.world.kind import Slots

SEPARATOR = {"en": ", ", "zh": "、"}
AND = {"en": " and ", "zh": "和"}
MAX_LISTED = 10
NAMES = {"en": v.NAMES_EN, "zh": v.NAMES_ZH}
PLACES = {"en": tuple(place for place in v.PLACES_EN if place.startswith("the ")), "zh": v.PLACES_ZH}

_WORD = {"en": re.compile(r"[a-z]{1,14}"), "zh": re.compile(r"[\u4e00-\u9fff]{1,6}")}
_TEXT = {"en": re.compile(r"[A-Za-z]+(?: [A-Za-z]+){0,11}"), "zh": re.compile(r"[\u4e00-\u9fff]{1,24}")}
FREE_SLOTS = ("name", "other", "place", "scene")
"""Slots that make an instruction longer and never change its answer."""


def join(words: Sequence[str], lang: str) -> str:
    """The words one after another, only separated."""
    return SEPARATOR[lang].join(words)


def join_and(words: Sequence[str], lang: str) -> str:
    """The words as they stand in a sentence: "and" before the last."""
    *most, last = words
    return f"{join(most, lang)}{AND[lang]}{last}" if most else last


def split(text: str, lang: str) -> list[str] | None:
    """The words of a separated list, or None where one is no plain word or there are too many."""
    words = text.split(SEPARATOR[lang])
    is_list = len(words) <= MAX_LISTED and all(_WORD[lang].fullmatch(word) for word in words)
    return words if is_list else None


def split_and(text: str, lang: str) -> list[str]:
    """The words of a list as it stands in a sentence, or of one that is only separated."""
    most, found, last = text.rpartition(AND[lang])
    return [*most.split(SEPARATOR[lang]), last] if found else text.split(SEPARATOR[lang])


def is_word(text: str, lang: str) -> bool:
    """Whether the text is one plain word, English ones in small letters."""
    return _WORD[lang].fullmatch(text) is not None


def are_clean(slots: Slots, lang: str) -> bool:
    """Whether the slots that do not matter hold plain text, so that they swallowed nothing else."""
    return all(_TEXT[lang].fullmatch(slots[slot]) for slot in FREE_SLOTS if slot in slots)


def looked_up(table: Mapping[str, str], words: Iterable[str]) -> list[str] | None:
    """What the table has for each of the words, or None where it lacks one."""
    found = [table.get(word) for word in words]
    return [one for one in found if one is not None] if None not in found else None


def surroundings(rng: Random, lang: str) -> Slots:
    """Two people, a place, and a scene: a sentence without its stop, in which something happens."""
    name, other = rng.sample(NAMES[lang], 2)
    place = rng.choice(PLACES[lang])
    return {"name": name, "other": other, "place": place, "scene": _SCENES[lang](rng)}


def _scene_en(rng: Random) -> str:
    name, other = rng.sample(v.NAMES_EN, 2)
    place, food = rng.choice(PLACES["en"]), rng.choice(v.FOODS_EN)
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
