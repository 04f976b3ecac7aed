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
            "{other} [arrives|is seen] at {place} on {day}, and {name} [one|a] day later. [What day "
            "is that|On which day is that]?",
            "Today is {day}, and {event} is tomorrow. On which day [does it take place|is that]?",
            "The [bus|letter|parcel] should come on {day} but is a day late. Which day is that?",
            "{name} [visits|enters|leaves] {shop} the day after {day}. [Name that day.|Which day is it?]",
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
            "{name}[说|记得]昨天是{day}，[那么今天呢|今天星期几]？",
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
            "{other} [gets to|reaches] {place} on {day}; {name} was there [a|one] day earlier. [When "
            "was that|Which day was it]?",
            "Today is {day}, and {event} was yesterday. On which day did it happen?",
            "The [rent|bill|homework] is due on {day}, but {name} is one day early. Which day is that?",
            "{other} [cleans|paints|visits] {shop} on the eve of {day}. [Name|Write] that day.",
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
            "{name}[说|知道]明天是{day}，[那么今天呢|今天星期几]？",
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
            "{name} [says|remembers] that last month was {month}. [Which one is it now|What month do "
            "we have]?",
            "What month [follows|stands behind] {month} in the year?",
            "{other} [moves|starts work] in {month}, and {name} [one|a] month later. [When is "
            "that|In which month]?",
            "It is {month}, and {event} [will be|comes] next month. [In which month is it|When does "
            "it take place]?",
            "During {month} we find {shop} closed; it opens again the month after. When does it open?",
            "{name} turns the [calendar|page] from {month} [to the next page|one month on]. [Which "
            "month is shown|What does it say now]?",
        ),
        "{answer} comes after {month}.",
    ),
    _neighbour(
        "zh",
        "month",
        1,
        (
            "请问{month}的[下|后]一个月是几月？",
            "{name}[说|记得]上个月是{month}，[这个月呢|现在是几月]？",
            "过了{month}，[接着|紧接着]是几月？",
            "{other}在{month}[搬家|入学]，{name}晚一个月，[是几月|那是哪个月]？",
            "现在是{month}，{event}在下个月，那是哪个月？",
            "到了{month}，{shop}停业，再过一个月开门，几月开门？",
            "{name}把[日历|挂历]从{month}往后翻[一页|一张]，[看到几月|现在是哪个月]？",
        ),
        "{month}的下一个月是{answer}。",
    ),
    _neighbour(
        "en",
        "month",
        -1,
        (
            "Which month comes [right before|just before] {month}?",
            "{name} [says|reads] that next month is {month}. [Which one is it now|What month do we have]?",
            "What month [precedes|stands in front of] {month} in the year?",
            "{other} [leaves|moves out] in {month}; {name} did so [a|one] month earlier. [When was "
            "that|In which month]?",
            "It is {month}, and {event} was [last month|a month ago]. [In which month was it|When "
            "did it take place]?",
            "Since the month before {month}, {shop} has been closed. Which month is meant?",
            "{name} turns the [calendar|pages] back by one [page|month] from {month}. [Which month "
            "is shown|What does it say now]?",
        ),
        "{answer} comes before {month}.",
    ),
    _neighbour(
        "zh",
        "month",
        -1,
        (
            "请问{month}的[上|前]一个月是几月？",
            "{name}[说|知道]下个月是{month}，[这个月呢|现在是几月]？",
            "在{month}之前，[挨着|紧挨着]的是几月？",
            "{other}在{month}[离开|回国]，{name}早一个月，[是几月|那是哪个月]？",
            "现在是{month}，{event}在上个月，那是哪个月？",
            "从{month}的前一个月起，{shop}就[关门|停业]了，[是几月关的|那是几月]？",
            "{name}把[日历|挂历]从{month}往前翻[一页|一张]，[看到几月|现在是哪个月]？",
        ),
        "{month}的上一个月是{answer}。",
    ),
)

WEEK = (
    _days_away(
        "en",
        1,
        (
            "Today is {day}. [What day is it|Which day do we have|What does the calendar say] in {n} days?",
            "[If it is|Suppose it is] {day} [now|this morning], which day [comes|will it be] {n} days later?",
            "{name} [leaves|sets out] on {day} and [travels for|is on the road for] {n} days to "
            "{place}. [On what day is the end of the trip|Which is the day of arrival]?",
            "It is {day}. {other} [has to wait|is waiting] {n} [more|long] days for {event}. [On "
            "which day is it|When will it come]?",
            "[An order|A parcel] from {shop} was [made|packed] on {day} and takes {n} days. [When "
            "does it come|What day does it arrive]?",
            "Count {n} days on from {day}. Where do you [end|stop]?",
            "The [cake|bread|soup] that {name} [made|prepared] on {day} keeps {n} days. [Which is "
            "the last good day|Until which day can one eat it]?",
        ),
    ),
    _days_away(
        "zh",
        1,
        (
            "[今天是|已知今天]{day}，{n}天[后|之后][是星期几|会是哪天]？",
            "如果现在是{day}，再过{n}天是哪一天？",
            "{name}在{day}[出发|动身]去{place}，[路上走|要走]{n}天，[星期几到|哪天抵达]？",
            "[这天|今天]是{day}，{other}[还要等|再等]{n}天才有{event}，[那是星期几|哪天举行]？",
            "{day}在{shop}[订的货|买的家具]，{n}天[送到|运到]，[哪天能收到|星期几来]？",
            "从{day}[往后|向后]数{n}天，[会数到什么|是星期几]？",
            "{name}在{day}买的[牛奶|蛋糕|豆腐]能放{n}天，[最晚星期几用完|放到哪天为止]？",
        ),
    ),
    _days_away(
        "en",
        -1,
        (
            "[Today is|We have] {day}. [What day was it|Which day did we have] {n} days ago?",
            "{name} [came to|visited|saw] {place} {n} days before {day}. [Which day was that|When was it]?",
            "[Count|Go] {n} days back from {day}. [Which day do you reach|Where are you then]?",
            "[It is|This is] {day} and {event} was {n} days ago. [On what day was it|When did it "
            "take place]?",
            "A [letter|card|parcel] from {name} reached {other} on {day} after {n} days. [When had "
            "it been sent|On which day was it posted]?",
            "On {day}, {name} [has been ill|has been away] for {n} days. [On which day did it "
            "begin|Since when is that]?",
            "We were in {shop} {n} days ago, and [now|today] it is {day}. [Name the day of our "
            "visit|Tell us on which day that was].",
        ),
    ),
    _days_away(
        "zh",
        -1,
        (
            "[今天是|已知今天]{day}，{n}天[前|之前][是星期几|那天呢]？",
            "{name}在{day}的{n}天之前[来过|去过]{place}，[那是哪天|那天是星期几]？",
            "从{day}[往回|倒着]数{n}天，[会数到什么|是星期几]？",
            "[这天|今天]是{day}，{event}[已经过去|结束]{n}天了，{other}[是星期几去的|哪天参加的]？",
            "[信|包裹]在{day}到了{other}手里，[路上走了|一共走了]{n}天，{name}[哪天寄的|星期几寄出]？",
            "到{day}为止，{name}已经[病了|休息了|出差]{n}天，[星期几开始的|从哪天起]？",
            "我们{n}天以前去了{shop}，[现在|今天]是{day}，[去的时候是星期几|哪天去的]？",
        ),
    ),
    _between(
        "en",
        (
            "How many days [is it|does it take] from {day} to the [next|following] {target}?",
            "[Today is|It is now] {day}. [In how many days is it|How many days are left to] {target}?",
            "{name} [comes to|reaches] {place} on {day} and leaves on the [next|following] {target}. "
            "[How many nights is that|How many nights lie between]?",
            "On {day}, {other} [hears|reads|is told] that {event} is on {target}. [How many days are "
            "left|How long is the wait in days]?",
            "[Ordered|Bought] at {shop} on {day}, a [chair|lamp|table] arrives on {target}. [How "
            "many days did that take|After how many days is it there]?",
            "Counting from {day}, after how many days does {target} come?",
            "{name} [slept badly|was busy] from {day} until {target}. [Count|Tell|Give] the number of days.",
        ),
    ),
    _between(
        "zh",
        (
            "[请问从|从]{day}到下一个{target}[要过几天|有多少天]？",
            "[今天是|假如今天]{day}，[再过多少天是|几天以后才到]{target}？",
            "{name}在{day}到{place}，在{target}[离开|回家]，[住了几晚|过了几夜]？",
            "现在是{day}，{event}[定在|安排在]{target}，{other}[还要等几天|得等多少天]？",
            "[货|桌子]是{day}订的，{shop}在{target}[送来|送到]，[隔了多少天|用了几天]？",
            "由{day}数起，几天以后轮到{target}？",
            "{other}在{day}借了[书|伞|车]，在{target}还给{name}，[借了多少天|几天后还的]？",
        ),
    ),
)

ON_DATES = (
    _dates(
        "en",
        1,
        (
            "Which date [is|comes] {n} days after {month} {a}?",
            "[Today is|We write] {month} {a}. [What is the date|Which date will it be] in {n} days?",
            "{name} [starts|sets off] on {month} {a} and needs {n} days to reach {place}. [On what "
            "date is that|Which is the date of arrival]?",
            "The [fair|show] at {place} opens on {month} {a} and closes {n} days later. [When does "
            "it close|What is its last date]?",
            "It is {month} {a}, and {other} [waits|counts] {n} more days for {event}. [Give the date "
            "of it|Write down when it is].",
            "[Add|Put] {n} days [on|to] {month} {a}. [Which date is it|What do you get]?",
            "{name} [borrows|takes] a [game|bike] from {shop} on {month} {a} for {n} days. [When "
            "must it be back|What is the day of return]?",
        ),
    ),
    _dates(
        "zh",
        1,
        (
            "请问{month}{a}日[过|加上]{n}天是[几月几日|哪天]？",
            "[今天是|已知今天]{month}{a}日，{n}天[后|之后]是[什么日期|几号]？",
            "{name}于{month}{a}日[出发|启程]，{n}天后[到|抵达]{place}，[是哪一天|几号到]？",
            "[展会|庙会]从{month}{a}日[开始|开幕]，{n}天以后[结束，几号结束|闭幕，哪天闭幕]？",
            "现在是{month}{a}日，{other}再[等|过]{n}天就有{event}，[写出那天的日期。|那是几号？]",
            "在{month}{a}日上加{n}天，得到几月几日？",
            "{name}从{shop}借的[书|车]，{month}{a}日借，能[借|用]{n}天，[最晚哪天还|到几号为止]？",
        ),
    ),
    _dates(
        "en",
        -1,
        (
            "Which date [is|comes] {n} days before {month} {a}?",
            "[Today is|We write] {month} {a}. [What was the date|Which date did we have] {n} days ago?",
            "{name} [reached|got to] {place} on {month} {a} after {n} days [of travel|on the road]. "
            "[When did the trip begin|Which was the date of the start]?",
            "[The day of|The date for] {event} is {month} {a}. {other} [buys the ticket|comes] {n} "
            "days earlier. On what date?",
            "Go back {n} days from {month} {a}. Where on the calendar are you?",
            "A [parcel|letter] from {shop} came on {month} {a} [and was|after] {n} days on the way. "
            "[When was it sent|What date was it posted on]?",
            "{name} has to [tell|warn|call] {other} {n} days ahead of {month} {a}. [Give the latest "
            "date.|Which date is that at the latest?]",
        ),
    ),
    _dates(
        "zh",
        -1,
        (
            "请问{month}{a}日的{n}天[前|之前]是[几月几日|哪天]？",
            "[今天是|已知今天]{month}{a}日，{n}天以前是[什么日期|几号]？",
            "{name}走了{n}天，{month}{a}日[到|抵达]{place}，[哪一天动身的|几号出的门]？",
            "{event}在{month}{a}日，{other}[提早|提前]{n}天[买票，是几号买的|报名，是哪天报的]？",
            "从{month}{a}日往回退{n}天，日历上是几月几日？",
            "{shop}寄的[包裹|样品]{month}{a}日收到，[用了|走了]{n}天，[何时寄出|几号发的]？",
            "{name}要在{month}{a}日的{n}天前[通知|告诉]{other}，[写出那个日期。|那是几号？]",
        ),
    ),
)

KINDS = NEIGHBOURS + WEEK + ON_DATES
