"""Kinds about days of the week, months and dates."""

from __future__ import annotations

from random import Random

from raysft.world import vocabulary as v
from raysft.world.context import LEVELS, asked
from raysft.world.kind import Kind, Sample, Slots, Solve

LOOKUP, DATE = ("lookup", "time"), ("date", "time")
DAYS = {"en": v.DAYS_EN, "zh": v.DAYS_ZH}
MONTHS = {"en": v.MONTHS_EN, "zh": v.MONTHS_ZH}
LAST_SURE_DAY = 28
"""Every month has this day, so no answer needs a month's length."""
DATE_TEXT = {"en": "{month} {day}", "zh": "{month}{day}日"}


def _one_of(names: tuple[str, ...], slot: str) -> Sample:
    return lambda rng, level: {slot: rng.choice(names)}


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
    solve = _step(names, unit, by)
    return asked(lang, name, LOOKUP, phrasings, _one_of(names, unit), solve, sentence, levels=(1,))


def _days_away(lang: str, by: int, phrasings: tuple[str, ...]) -> Kind:
    """Level 1 is two or three days away, level 2 up to six, level 3 a week or more."""

    def sample(rng: Random, level: int) -> Slots:
        n = rng.randint(*{1: (2, 3), 2: (4, 6), 3: (7, 10)}[level])
        return {"day": rng.choice(DAYS[lang]), "n": str(n)}

    name = "days_on" if by > 0 else "days_ago"
    return asked(lang, name, DATE, phrasings, sample, _step(DAYS[lang], "day", by))


def _between(lang: str, phrasings: tuple[str, ...]) -> Kind:
    days = DAYS[lang]

    def sample(rng: Random, level: int) -> Slots:
        first, distance = rng.randrange(7), rng.randint(*{1: (1, 2), 2: (3, 4), 3: (5, 6)}[level])
        return {"day": days[first], "target": days[(first + distance) % 7]}

    def solve(slots: Slots) -> str | None:
        day, target = slots["day"], slots["target"]
        if day not in days or target not in days or day == target:
            return None
        return str((days.index(target) - days.index(day)) % 7)

    return asked(lang, "days_between", DATE, phrasings, sample, solve)


def _date(lang: str, by: int) -> Solve:
    def solve(slots: Slots) -> str | None:
        first, day = int(slots["a"]), int(slots["a"]) + by * int(slots["n"])
        if slots["month"] not in MONTHS[lang] or not 1 <= min(first, day) <= max(first, day) <= LAST_SURE_DAY:
            return None
        return DATE_TEXT[lang].format(month=slots["month"], day=day)

    return solve


def _date_slots(lang: str, by: int) -> Sample:
    """Level 1 moves a date by up to 5 days, level 2 by up to 9, level 3 by up to 15."""

    def sample(rng: Random, level: int) -> Slots:
        n = rng.randint(*{1: (2, 5), 2: (4, 9), 3: (10, 15)}[level])
        first = rng.randint(1, LAST_SURE_DAY - n)
        return {"month": rng.choice(MONTHS[lang]), "a": str(first if by > 0 else first + n), "n": str(n)}

    return sample


def _dates(lang: str, by: int, phrasings: tuple[str, ...]) -> Kind:
    name = "date_on" if by > 0 else "date_before"
    return asked(lang, name, DATE, phrasings, _date_slots(lang, by), _date(lang, by), levels=LEVELS)


NEIGHBOURS = (
    _neighbour(
        "en",
        "day",
        1,
        (
            "Which day comes [right after|straight after] {day}?",
            "{name} says that yesterday was {day}. What day is [it today|it now]?",
            "What day [follows|stands behind] {day} in the week?",
            "{other} arrives at {place} on {day}, and {name} one day later. When does {name} arrive?",
            "Today is {day}, and {event} is tomorrow. On which day [does it take place|is that]?",
            "The [bus|letter|parcel] should come on {day} but is a day late. Which day is that?",
            "{name} visits {shop} the day after {day}. Name that day.",
            "If it is {day} now, what will {other} read on the calendar tomorrow?",
        ),
        "{answer} comes after {day}.",
    ),
    _neighbour(
        "zh",
        "day",
        1,
        (
            "请问{day}的[后|下]一天是星期几？",
            "{name}说昨天是{day}，那么今天呢？",
            "过了{day}，[接着|紧接着]是星期几？",
            "{other}在{day}到{place}，{name}晚一天到，{name}哪天到？",
            "今天是{day}，明天有{event}，{event}在星期几？",
            "[包裹|信|客人]本该{day}来，却迟了一天，是哪天来的？",
            "{name}打算在{day}的次日去{shop}，写出那天。",
            "如果现在是{day}，{other}明天看日历会看到什么？",
        ),
        "{day}的后一天是{answer}。",
    ),
    _neighbour(
        "en",
        "day",
        -1,
        (
            "Which day comes [right before|just before] {day}?",
            "{name} says that tomorrow will be {day}. What day is it [today|now]?",
            "What day [precedes|stands in front of] {day} in the week?",
            "{other} gets to {place} on {day}; {name} was there a day earlier. When was {name} there?",
            "Today is {day}, and {event} was yesterday. On which day did it happen?",
            "The [rent|bill|homework] is due on {day}, but {name} is one day early. Which day is that?",
            "{other} cleans {shop} on the eve of {day}. Name that day.",
            "If it is {day} now, what did {name} read on the calendar yesterday?",
        ),
        "{answer} comes before {day}.",
    ),
    _neighbour(
        "zh",
        "day",
        -1,
        (
            "请问{day}的[前|上]一天是星期几？",
            "{name}说明天是{day}，那么今天呢？",
            "在{day}之前，[挨着|紧挨着]的是星期几？",
            "{other}在{day}到{place}，{name}早一天到，{name}哪天到？",
            "今天是{day}，昨天有{event}，{event}在星期几？",
            "[作业|报告|房租]{day}要交，{name}提前一天交，是哪天交的？",
            "{other}在{day}的前夕打扫{shop}，写出那天。",
            "如果现在是{day}，{name}昨天看日历看到了什么？",
        ),
        "{day}的前一天是{answer}。",
    ),
    _neighbour(
        "en",
        "month",
        1,
        (
            "Which month comes [right after|straight after] {month}?",
            "{name} says that last month was {month}. Which one is it now?",
            "What month [follows|stands behind] {month} in the year?",
            "{other} moves in {month}, and {name} a month later. When does {name} move?",
            "It is {month}, and {event} will be next month. In which month is it?",
            "During {month} we find {shop} closed; it opens again the month after. When does it open?",
            "{name} turns the calendar from {month} to the next page. Which month is shown?",
        ),
        "{answer} comes after {month}.",
    ),
    _neighbour(
        "zh",
        "month",
        1,
        (
            "请问{month}的[下|后]一个月是几月？",
            "{name}说上个月是{month}，这个月呢？",
            "过了{month}，[接着|紧接着]是几月？",
            "{other}在{month}搬家，{name}晚一个月，{name}几月搬？",
            "现在是{month}，{event}在下个月，那是哪个月？",
            "到了{month}，{shop}停业，再过一个月开门，几月开门？",
            "{name}把日历从{month}往后翻一页，看到几月？",
        ),
        "{month}的下一个月是{answer}。",
    ),
    _neighbour(
        "en",
        "month",
        -1,
        (
            "Which month comes [right before|just before] {month}?",
            "{name} says that next month is {month}. Which one is it now?",
            "What month [precedes|stands in front of] {month} in the year?",
            "{other} leaves in {month}; {name} left a month earlier. When did {name} leave?",
            "It is {month}, and {event} was last month. In which month was it?",
            "Since the month before {month}, {shop} has been closed. Which month is meant?",
            "{name} turns the calendar back by one page from {month}. Which month is shown?",
        ),
        "{answer} comes before {month}.",
    ),
    _neighbour(
        "zh",
        "month",
        -1,
        (
            "请问{month}的[上|前]一个月是几月？",
            "{name}说下个月是{month}，这个月呢？",
            "在{month}之前，[挨着|紧挨着]的是几月？",
            "{other}在{month}离开，{name}早一个月，{name}几月走的？",
            "现在是{month}，{event}在上个月，那是哪个月？",
            "从{month}的前一个月起，{shop}就关门了，是几月关的？",
            "{name}把日历从{month}往前翻一页，看到几月？",
        ),
        "{month}的上一个月是{answer}。",
    ),
)

WEEK = (
    _days_away(
        "en",
        1,
        (
            "Today is {day}. What day is it in {n} days?",
            "If it is {day} now, which day comes {n} days later?",
            "{name} leaves on {day} and travels for {n} days. On what day does {name} arrive at {place}?",
            "It is {day}. {other} has to wait {n} days for {event}. On which day is it?",
            "The order from {shop} was made on {day} and takes {n} days. When does it come?",
            "Count {n} days on from {day}. Where do you [end|stop]?",
            "A cake of {name} was baked on {day} and keeps {n} days. Which is the last good day?",
        ),
    ),
    _days_away(
        "zh",
        1,
        (
            "今天是{day}，{n}天后是星期几？",
            "如果现在是{day}，再过{n}天是哪一天？",
            "{name}在{day}出发去{place}，路上走{n}天，星期几到？",
            "[这天|今天]是{day}，{other}还要等{n}天才有{event}，那是星期几？",
            "{day}在{shop}订的货，{n}天送到，哪天能收到？",
            "从{day}往后数{n}天，会数到什么？",
            "{name}在{day}买的牛奶能放{n}天，最晚星期几喝完？",
        ),
    ),
    _days_away(
        "en",
        -1,
        (
            "Today is {day}. What day was it {n} days ago?",
            "{name} came to {place} {n} days before {day}. Which day was that?",
            "Count {n} days back from {day}. Which day do you reach?",
            "It is {day} and {event} was {n} days ago. On what day did {other} go there?",
            "A letter reached {other} on {day} after {n} days. When had {name} sent it?",
            "On {day}, {name} has been ill for {n} days. On which day did it begin?",
            "We were in {shop} {n} days ago, and now it is {day}. Name the day of our visit.",
        ),
    ),
    _days_away(
        "zh",
        -1,
        (
            "今天是{day}，{n}天前是星期几？",
            "{name}在{day}的{n}天之前来过{place}，那是哪天？",
            "从{day}往回数{n}天，会数到什么？",
            "[这天|今天]是{day}，{event}已经过去{n}天了，{other}是星期几去的？",
            "信在{day}到了{other}手里，路上走了{n}天，{name}哪天寄的？",
            "到{day}为止，{name}已经病了{n}天，星期几开始病的？",
            "我们{n}天以前去了{shop}，现在是{day}，去的时候是星期几？",
        ),
    ),
    _between(
        "en",
        (
            "How many days is it from {day} to the next {target}?",
            "Today is {day}. In how many days is it {target}?",
            "{name} comes to {place} on {day} and leaves on the following {target}. How many nights is that?",
            "On {day}, {other} hears that {event} is on {target}. How many days are left?",
            "Ordered at {shop} on {day}, a chair arrives on {target}. How many days did that take?",
            "Counting from {day}, after how many days does {target} come?",
            "{name} slept badly from {day} until {target}. Count the days that passed.",
        ),
    ),
    _between(
        "zh",
        (
            "从{day}到下一个{target}要过几天？",
            "今天是{day}，再过多少天是{target}？",
            "{name}在{day}到{place}，在{target}离开，住了几晚？",
            "现在是{day}，{event}定在{target}，{other}还要等几天？",
            "货是{day}订的，{shop}在{target}送来，隔了多少天？",
            "由{day}数起，几天以后轮到{target}？",
            "{other}在{day}借了书，在{target}还给{name}，借了多少天？",
        ),
    ),
)

ON_DATES = (
    _dates(
        "en",
        1,
        (
            "Which date is {n} days after {month} {a}?",
            "Today is {month} {a}. What is the date in {n} days?",
            "{name} starts on {month} {a} and needs {n} days to reach {place}. On what date is that?",
            "The fair at {place} opens on {month} {a} and closes {n} days later. When does it close?",
            "It is {month} {a}, and {other} waits {n} more days for {event}. Give the date of it.",
            "Add {n} days to {month} {a}.",
            "A book from {shop} is lent on {month} {a} for {n} days. When must {name} bring it back?",
        ),
    ),
    _dates(
        "zh",
        1,
        (
            "请问{month}{a}日过{n}天是几月几日？",
            "今天是{month}{a}日，{n}天后是什么日期？",
            "{name}于{month}{a}日出发，{n}天后到{place}，是哪一天？",
            "展会从{month}{a}日开始，{n}天以后结束，几号结束？",
            "现在是{month}{a}日，{other}再等{n}天就有{event}，写出{event}的日期。",
            "在{month}{a}日上加{n}天，得到几月几日？",
            "从{shop}借的书，{month}{a}日借，能借{n}天，{name}最晚哪天还？",
        ),
    ),
    _dates(
        "en",
        -1,
        (
            "Which date is {n} days before {month} {a}?",
            "Today is {month} {a}. What was the date {n} days ago?",
            "{name} reached {place} on {month} {a} after {n} days of travel. When did the trip begin?",
            "The day of {event} is {month} {a}. {other} buys the ticket {n} days earlier. On what date?",
            "Go back {n} days from {month} {a}. Where on the calendar are you?",
            "A parcel from {shop} came on {month} {a} and was {n} days on the way. When was it sent?",
            "{name} has to tell {other} {n} days ahead of {month} {a}. Give the latest date.",
        ),
    ),
    _dates(
        "zh",
        -1,
        (
            "请问{month}{a}日的{n}天前是几月几日？",
            "今天是{month}{a}日，{n}天以前是什么日期？",
            "{name}走了{n}天，{month}{a}日到{place}，哪一天动身的？",
            "{event}在{month}{a}日，{other}提早{n}天买票，是几号买的？",
            "从{month}{a}日往回退{n}天，日历上是几月几日？",
            "{shop}寄的包裹{month}{a}日收到，用了{n}天，何时寄出？",
            "{name}要在{month}{a}日的{n}天前通知{other}，写出那个日期。",
        ),
    ),
)

KINDS = NEIGHBOURS + WEEK + ON_DATES
