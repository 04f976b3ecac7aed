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
            "It is {a} o'clock. [What hour is it|Which hour will it be] in {n} hours?",
            "A trip to {place} [starts|begins] at {a} o'clock and takes {n} hours. [At what hour "
            "does it end|When is it over]?",
            "{name} [goes to bed|lies down] at {a} o'clock and [sleeps|rests] {n} hours. [When does "
            "the alarm ring|At what hour is the night over]?",
            "The clock at {place} [strikes|shows] {a}. [What hour is it|What does one hear or see "
            "there] {n} hours later?",
            "From {a} o'clock, {other} [works|helps] {n} hours in {shop}. [At which hour is the work "
            "done|When does this end]?",
            "{name} [parks|stops] at {a} o'clock and may stay {n} hours. Until when?",
            "At {a} o'clock, {n} hours are left until {event}. [When does it start|At what hour is "
            "the opening]?",
            "{name} [turns|moves] the hour hand from {a} forward by {n} hours. [Where does it "
            "point|What hour is that]?",
        ),
        "{hour} o'clock",
    ),
    _hours_on(
        "zh",
        (
            "[现在是|钟表显示]{a}点，{n}[小时|个小时]后[是几点|到几点]？",
            "[火车|汽车]{a}点出发，[路上要|得走]{n}小时，[几点能到|什么时候到]{place}？",
            "{name}{a}点[睡下|躺下]，睡了{n}个小时，[什么时候醒|几点起床]？",
            "{place}的钟[敲了|指着]{a}点，[再过|过了]{n}小时[是几点|会到几点]？",
            "{other}从{a}点起在{shop}[工作|帮忙]{n}小时，[到几点下班|几点可以走]？",
            "[车|船]{a}点停在这里，[可以停|要停]{n}个小时，[停到几点为止|几点离开]？",
            "在{a}点的时候，离{event}还差{n}小时，几点[开始|开场]？",
            "{name}把时针从{a}往前[拨|转]{n}小时，[指着几点|这时是几点]？",
        ),
        "{hour}点",
    ),
    asked(
        "en",
        "hours_between",
        CLOCK,
        (
            "How many hours [are there|pass|lie] between {a}:00 and {b}:00?",
            "{name} [works|reads|plays|cooks] from {a} to {b} o'clock [today|on Sunday|with "
            "friends]. How many hours is that?",
            "The [doors|gates] of {shop} open at {a} and close at {b}. [For how many hours can one "
            "enter|How many hours a day is that]?",
            "{other} left for {place} at {a}:00 and [came back|was home] at {b}:00. [How many hours "
            "did it take?|Give the hours away from home.]",
            "A [train|bus|ship] to {place} starts at {a} and arrives at {b} o'clock. [Give the hours "
            "of the ride.|How many hours is one on board?]",
            "It is {a}:00, and {event} begins at {b}:00. [How many hours must|For how many hours "
            "does] {name} wait?",
            "{name} [kept watch|stood in] for {other} between {a} and {b} o'clock. [Count|Say] the hours.",
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
            "[请问从|从]{a}点到{b}点[有几个小时|过了多少小时]？",
            "{name}{a}点上班，{b}点下班，[工作多少小时|在公司待几小时]？",
            "{shop}{a}点[开门|开始营业]，{b}点[关门|结束]，[每天开几个小时|营业多少小时]？",
            "{other}在{a}点去{place}，{b}点[回来|到家]，[离开了几小时|在外面多少小时]？",
            "[火车|大巴|轮船]{a}点开，{b}点到{place}，[一共要坐|要走]多少小时？",
            "[现在|此刻]{a}点，{event}{b}点[开始|开场]，{name}[得等几小时|还有多少小时]？",
            "{name}替{other}值班，{a}点接班，{b}点交班，[值了多少小时|一班是几小时]？",
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
            "It is {time}. [What time is it|What will the clock show] in {n} minutes?",
            "The [bus|tram|taxi] to {place} [leaves|starts] at {time} and needs {n} minutes. [When "
            "does it arrive|What is the time of arrival]?",
            "{name} should [meet|call] {other} at {time} but is {n} minutes late. [At what time is "
            "that|When does it happen]?",
            "A [cake|pie|bread] of {name} goes into the oven at {time} [and bakes for|for] {n} "
            "minutes. When is it [ready|done|out]?",
            "Add {n} minutes to {time}. [Which time is it|What do you get]?",
            "The clock says {time} when {event} begins. It [lasts|takes] {n} minutes. [When is it "
            "over|At what time can all leave]?",
            "The [clock|watch] of {name} shows {time} but is {n} minutes slow. [What is the right "
            "time|How late is it really]?",
            "{other} [calls|rings] {shop} at {time} and talks for {n} minutes. [When does the call "
            "end|At what time is it over]?",
        ),
        _minutes,
        _clock,
    ),
    asked(
        "zh",
        "minutes_on",
        CLOCK,
        (
            "[现在是|表上是]{time}，{n}分钟[后|以后][是几点几分|是什么时刻]？",
            "去{place}的车在{time}[开|出发]，[要走|路上]{n}分钟，[什么时候到|几点几分到]？",
            "{name}和{other}约好{time}[见面|吃饭]，却[迟到|晚了]{n}分钟，[几点才来|什么时间到的]？",
            "{name}的蛋糕在{time}放进烤箱，[烤|要烤]{n}分钟，[什么时间能好|几点出炉]？",
            "在{time}上加{n}分钟，得到什么时刻？",
            "{event}于{time}[开始|开场]，[时长|持续]{n}分钟，[几点结束|什么时候散场]？",
            "{name}的[表|钟]指着{time}，但慢了{n}分钟，[准确时间是多少|其实是几点]？",
            "{other}在{time}给{shop}打电话，[说了|聊了]{n}分钟，[何时挂断|几点说完]？",
        ),
        _minutes,
        _clock,
    ),
    asked(
        "en",
        "open_at",
        CLOCK,
        (
            "[The opening hours of|The hours on the door of] {shop} are {a}:00 to {b}:00. [Is it "
            "open or closed|Open or closed] at {c}:00?",
            "{name} comes to {shop} at {c} o'clock. It [opens|starts] at {a} and [closes|stops] at "
            "{b}. [Open or closed|Is it open or closed then]?",
            "[On the door stands|A sign says]: from {a} to {b} o'clock. {other} [knocks|comes] at "
            "{c}. [Is the door open or closed?|Say open or closed.]",
            "Guests may enter {shop} between {a}:00 and {b}:00. [Is it|Will it be] open or closed at {c}:00?",
            "[If|When] {shop} [works|is busy] from {a} till {b}, is it open or closed for {name} at "
            "{c} [o'clock|on that day]?",
            "At {c}:00, {other} wants to buy {items}. The [market|shop] hours are {a}:00 to {b}:00. "
            "[Open or closed|Is it open or closed]?",
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
            "{shop}的[营业时间是|开放时间为]{a}点到{b}点，{c}点[时|的时候][开着还是关着|是关着还是开着]？",
            "{name}{c}点[来到|路过]{shop}，那里{a}点[开门|开]，{b}点[关门|关]，[此时|这时]开着还是关着？",
            "[门上写着|牌子上有]：{a}点至{b}点。{other}在{c}点[敲门|来访]，[门是|里面]开着还是关着？",
            "[客人|大家]可以在{a}点和{b}点之间[进|去]{shop}，[到了|如果]{c}点，是开着还是关着？",
            "[如果|既然]{shop}[每天|今天]从{a}点开到{b}点，{name}{c}点去，[它|大门]开着还是关着？",
            "{other}想{c}点去[买|卖]{items}，[市场|集市]{a}点开、{b}点收，[那时|去时]开着还是关着？",
        ),
        _opening,
        _is_open("zh"),
        "那时{answer}。",
    ),
)
