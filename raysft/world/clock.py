"""Kinds about hours and the clock."""

from __future__ import annotations

import re
from random import Random

from raysft.world.context import asked
from raysft.world.kind import Kind, Slots, Solve

CLOCK = ("date", "time")
OPEN = {"en": ("open", "closed"), "zh": ("开着", "关着")}
_TIME = re.compile(r"(\d{1,2}):(\d\d)")


def _later(answer: str) -> Solve:
    def solve(slots: Slots) -> str | None:
        if not 1 <= int(slots["a"]) <= 12:
            return None
        return answer.format(hour=(int(slots["a"]) + int(slots["n"]) - 1) % 12 + 1)

    return solve


def _hour_slots(rng: Random, level: int) -> Slots:
    """Level 1 stays below 12 o'clock, level 2 goes past it, level 3 far past it."""
    n = rng.randint(*{1: (2, 6), 2: (2, 6), 3: (7, 11)}[level])
    first, last = (1, 12 - n) if level == 1 else (13 - n, 12)
    return {"a": str(rng.randint(first, last)), "n": str(n)}


def _span(rng: Random, level: int) -> Slots:
    a = rng.randint(6, 12)
    length = rng.randint(*{1: (1, 4), 2: (5, 8), 3: (6, 11)}[level])
    return {"a": str(a), "b": str(min(a + length, 23))}


def _hours_between(slots: Slots) -> str | None:
    a, b = int(slots["a"]), int(slots["b"])
    return str(b - a) if a < b <= 24 else None


def _clock(slots: Slots) -> str | None:
    """The time n minutes later, by a clock of 24 hours."""
    found = _TIME.fullmatch(slots["time"])
    hour, minute = (int(found[1]), int(found[2])) if found else (24, 60)
    if hour > 23 or minute > 59:
        return None
    after = (60 * hour + minute + int(slots["n"])) % (24 * 60)
    return f"{after // 60}:{after % 60:02}"


def _minutes(rng: Random, level: int) -> Slots:
    """Level 1 has tens of minutes, level 2 fives; from level 3 on the hour changes."""
    unit = 10 if level == 1 else 5
    n = rng.randrange(unit, 46, unit)
    minute = rng.randrange(0, 60 - n, unit) if level < 3 else rng.randrange(60 - n, 60, unit)
    return {"time": f"{rng.randint(6, 21)}:{minute:02}", "n": str(n)}


def _opening(rng: Random, level: int) -> Slots:
    """Levels differ in how near the hour is to the opening or the closing."""
    a, b = rng.randint(7, 11), rng.randint(15, 20)
    hours = [hour for hour in range(5, 24) if hour not in (a, b)]
    near = [hour for hour in hours if min(abs(hour - a), abs(hour - b)) < 3]
    return {"a": str(a), "b": str(b), "c": str(rng.choice(near if level > 1 else hours))}


def _is_open(lang: str) -> Solve:
    """None for an hour at which it opens or closes."""

    def solve(slots: Slots) -> str | None:
        a, b, c = (int(slots[slot]) for slot in "abc")
        if not a < b <= 24 or c > 24 or c in (a, b):
            return None
        return OPEN[lang][not a < c < b]

    return solve


def _hours_on(lang: str, phrasings: tuple[str, ...], answer: str) -> Kind:
    return asked(lang, "hours_on", CLOCK, phrasings, _hour_slots, _later(answer))


KINDS = (
    _hours_on(
        "en",
        (
            "It is {a} o'clock. What hour is it in {n} hours?",
            "A trip starts at {a} o'clock and takes {n} hours. At what hour does it end?",
            "{name} goes to bed at {a} o'clock and sleeps {n} hours. When does {name} wake up?",
            "The clock at {place} strikes {a}. What does it strike {n} hours later?",
            "From {a} o'clock, {other} works {n} hours in {shop}. At which hour is the work done?",
            "{name} [parks|stops] at {a} o'clock and may stay {n} hours. Until when?",
            "At {a} o'clock, {n} hours are left until {event}. When does it [begin|start]?",
            "Turn the hour hand from {a} forward by {n} hours. Where does it point?",
        ),
        "{hour} o'clock",
    ),
    _hours_on(
        "zh",
        (
            "现在是{a}点，{n}小时后是几点？",
            "[火车|汽车]{a}点出发，路上要{n}小时，几点能到{place}？",
            "{name}{a}点睡下，睡了{n}个小时，什么时候醒？",
            "{place}的钟敲了{a}点，再过{n}小时敲几点？",
            "{other}从{a}点起在{shop}工作{n}小时，到几点下班？",
            "[车|船]{a}点停在这里，可以停{n}个小时，停到几点为止？",
            "在{a}点的时候，离{event}还差{n}小时，几点[开始|开场]？",
            "{name}把时针从{a}往前拨{n}小时，指着几点？",
        ),
        "{hour}点",
    ),
    asked(
        "en",
        "hours_between",
        CLOCK,
        (
            "How many hours are there between {a}:00 and {b}:00?",
            "{name} works from {a} to {b} o'clock. How many hours is that?",
            "The doors of {shop} open at {a} and close at {b}. For how many hours can one enter?",
            "{other} left for {place} at {a}:00 and came back at {b}:00. How long was {other} away?",
            "A train starts at {a} and arrives at {b} o'clock. Give the hours of the ride.",
            "It is {a}:00, and {event} begins at {b}:00. How many hours must {name} wait?",
            "{name} kept watch for {other} between {a} and {b} o'clock. Count the hours.",
        ),
        _span,
        _hours_between,
        "It is {answer} hours.",
    ),
    asked(
        "zh",
        "hours_between",
        CLOCK,
        (
            "从{a}点到{b}点有几个小时？",
            "{name}{a}点上班，{b}点下班，工作多少小时？",
            "{shop}{a}点开门，{b}点关门，每天开几个小时？",
            "{other}在{a}点去{place}，{b}点回来，离开了多久，也就是几小时？",
            "火车{a}点开，{b}点到站，一共要坐多少小时？",
            "现在{a}点，{event}{b}点开始，{name}得等几小时？",
            "{name}替{other}值班，{a}点接班，{b}点交班，值了多少小时？",
        ),
        _span,
        _hours_between,
        "是{answer}个小时。",
    ),
    asked(
        "en",
        "minutes_on",
        CLOCK,
        (
            "It is {time}. What time is it in {n} minutes?",
            "The bus to {place} leaves at {time} and needs {n} minutes. When does it arrive?",
            "{name} should meet {other} at {time} but is {n} minutes late. At what time does {name} come?",
            "A cake goes into the oven at {time} and bakes for {n} minutes. When is it ready?",
            "Add {n} minutes to {time}.",
            "The clock says {time} when {event} begins. It lasts {n} minutes. When is it over?",
            "The clock of {name} shows {time} but is {n} minutes slow. What is the right time?",
            "{other} calls {shop} at {time} and talks for {n} minutes. When does the call end?",
        ),
        _minutes,
        _clock,
    ),
    asked(
        "zh",
        "minutes_on",
        CLOCK,
        (
            "现在是{time}，{n}分钟后是几点几分？",
            "去{place}的车在{time}开，要走{n}分钟，什么时候到？",
            "{name}和{other}约好{time}见面，却迟到{n}分钟，几点才来？",
            "蛋糕{time}放进烤箱，烤{n}分钟，什么时间能好？",
            "在{time}上加{n}分钟，得到什么时刻？",
            "{event}于{time}开始，时长{n}分钟，几点结束？",
            "{name}的表指着{time}，但慢了{n}分钟，准确时间是多少？",
            "{other}在{time}给{shop}打电话，说了{n}分钟，何时挂断？",
        ),
        _minutes,
        _clock,
    ),
    asked(
        "en",
        "open_at",
        CLOCK,
        (
            "The opening hours of {shop} are {a}:00 to {b}:00. Is it open or closed at {c}:00?",
            "{name} comes to {shop} at {c} o'clock. It opens at {a} and closes at {b}. Open or closed?",
            "On the door stands: from {a} to {b} o'clock. {other} knocks at {c}. Is the door open or closed?",
            "Guests may enter {shop} between {a}:00 and {b}:00. Say whether it is open or closed at {c}:00.",
            "If {shop} works from {a} till {b}, is it open or closed for {name} at {c} o'clock?",
            "At {c}:00, {other} wants to buy {items}. The market hours are {a}:00 to {b}:00. Open or closed?",
        ),
        _opening,
        _is_open("en"),
        "It is {answer} then.",
    ),
    asked(
        "zh",
        "open_at",
        CLOCK,
        (
            "{shop}的营业时间是{a}点到{b}点，{c}点时开着还是关着？",
            "{name}{c}点来到{shop}，那里{a}点开门，{b}点关门，此时开着还是关着？",
            "门上写着：{a}点至{b}点。{other}在{c}点敲门，门是开着还是关着？",
            "客人可以在{a}点和{b}点之间进{shop}，到了{c}点，是开着还是关着？",
            "如果{shop}每天从{a}点开到{b}点，{name}{c}点去，它开着还是关着？",
            "{other}想{c}点去买{items}，市场{a}点开、{b}点收，那时开着还是关着？",
        ),
        _opening,
        _is_open("zh"),
        "那时{answer}。",
    ),
)
