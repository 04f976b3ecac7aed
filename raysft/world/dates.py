"""Kinds about days, months, dates and the clock."""

from __future__ import annotations

from random import Random

from raysft.world import vocabulary as v
from raysft.world.kind import Kind, Sample, Slots, Solve

DAYS = {"en": v.DAYS_EN, "zh": v.DAYS_ZH}
MONTHS = {"en": v.MONTHS_EN, "zh": v.MONTHS_ZH}
LAST_SURE_DAY = 28
"""Every month has this day, so no answer needs a month's length."""


def _step(names: tuple[str, ...], slot: str, by: int) -> Solve:
    def solve(slots: Slots) -> str | None:
        if slots[slot] not in names:
            return None
        n = int(slots.get("n", 1))
        return names[(names.index(slots[slot]) + by * n) % len(names)]

    return solve


def _neighbour(lang: str, unit: str, by: int, phrasings: tuple[str, ...], sentence: str) -> Kind:
    names = (DAYS if unit == "day" else MONTHS)[lang]
    name = f"{unit}_{'after' if by > 0 else 'before'}"
    return Kind(
        name,
        "lookup",
        "time",
        lang,
        phrasings,
        lambda rng, level: {unit: rng.choice(names)},
        _step(names, unit, by),
        sentence,
    )


def _days_on(lang: str, phrasings: tuple[str, ...], sentence: str) -> Kind:
    names = DAYS[lang]
    return Kind(
        "days_on",
        "date",
        "time",
        lang,
        phrasings,
        lambda rng, level: {"day": rng.choice(names), "n": str(rng.randint(2, 6))},
        _step(names, "day", 1),
        sentence,
    )


def _hour(answer: str) -> Solve:
    def solve(slots: Slots) -> str | None:
        if not 1 <= int(slots["a"]) <= 12:
            return None
        return answer.format(hour=(int(slots["a"]) + int(slots["n"]) - 1) % 12 + 1)

    return solve


def _hours_on(lang: str, phrasings: tuple[str, ...], answer: str, sentence: str) -> Kind:
    return Kind(
        "hours_on",
        "date",
        "time",
        lang,
        phrasings,
        lambda rng, level: {"a": str(rng.randint(1, 12)), "n": str(rng.randint(2, 6))},
        _hour(answer),
        sentence,
    )


def _date(lang: str, answer: str) -> Solve:
    def solve(slots: Slots) -> str | None:
        day = int(slots["a"]) + int(slots["n"])
        if slots["month"] not in MONTHS[lang] or day > LAST_SURE_DAY or int(slots["a"]) < 1:
            return None
        return answer.format(month=slots["month"], day=day)

    return solve


def _date_slots(lang: str) -> Sample:
    def sample(rng: Random, level: int) -> Slots:
        first = rng.randint(1, LAST_SURE_DAY - 9)
        return {"month": rng.choice(MONTHS[lang]), "a": str(first), "n": str(rng.randint(2, 9))}

    return sample


KINDS = (
    _neighbour(
        "en",
        "day",
        1,
        ("Which day comes after {day}?", "What day follows {day}?"),
        "{answer} comes after {day}.",
    ),
    _neighbour(
        "zh", "day", 1, ("{day}的后一天是星期几？", "过了{day}是星期几？"), "{day}的后一天是{answer}。"
    ),
    _neighbour("en", "day", -1, ("Which day comes before {day}?",), "{answer} comes before {day}."),
    _neighbour("zh", "day", -1, ("{day}的前一天是星期几？",), "{day}的前一天是{answer}。"),
    _neighbour(
        "en",
        "month",
        1,
        ("Which month comes after {month}?", "What month follows {month}?"),
        "{answer} comes after {month}.",
    ),
    _neighbour(
        "zh",
        "month",
        1,
        ("{month}的下一个月是几月？", "过了{month}是几月？"),
        "{month}的下一个月是{answer}。",
    ),
    _neighbour("en", "month", -1, ("Which month comes before {month}?",), "{answer} comes before {month}."),
    _neighbour("zh", "month", -1, ("{month}的上一个月是几月？",), "{month}的上一个月是{answer}。"),
    _days_on(
        "en",
        ("Today is {day}. What day is it in {n} days?", "If today is {day}, which day comes {n} days later?"),
        "In {n} days it is {answer}.",
    ),
    _days_on(
        "zh",
        ("今天是{day}，{n}天后是星期几？", "如果今天是{day}，再过{n}天是星期几？"),
        "{n}天后是{answer}。",
    ),
    _hours_on(
        "en",
        (
            "It is {a} o'clock. What hour is it in {n} hours?",
            "A trip starts at {a} o'clock and takes {n} hours. At what hour does it end?",
        ),
        "{hour} o'clock",
        "It is {answer} then.",
    ),
    _hours_on(
        "zh",
        ("现在是{a}点，{n}小时后是几点？", "{a}点出发，路上要{n}小时，几点到？"),
        "{hour}点",
        "那时是{answer}。",
    ),
    Kind(
        "date_on",
        "date",
        "time",
        "en",
        ("Which date is {n} days after {month} {a}?", "Today is {month} {a}. What is the date in {n} days?"),
        _date_slots("en"),
        _date("en", "{month} {day}"),
        "It is {answer}.",
    ),
    Kind(
        "date_on",
        "date",
        "time",
        "zh",
        ("{month}{a}日过{n}天是几月几日？", "今天是{month}{a}日，{n}天后是几月几日？"),
        _date_slots("zh"),
        _date("zh", "{month}{day}日"),
        "那天是{answer}。",
    ),
)
