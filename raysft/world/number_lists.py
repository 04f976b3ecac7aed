"""Kinds that look at a list of numbers and tell its order, its largest or its smallest."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from raysft.world.context import COMMA, asked
from raysft.world.kind import Kind, Sample, Slots, Solve

MAX_LENGTH = 12
SORT, COMPARE = ("sorting", "mathematics"), ("comparison", "mathematics")
LENGTHS = {1: (3, 3), 2: (4, 4), 3: (5, 6)}
HIGHEST = {1: 20, 2: 50, 3: 99}
Pick = Callable[[list[int]], list[int]]
PICKED: dict[str, Pick] = {
    "sort_rising": sorted,
    "sort_falling": lambda numbers: sorted(numbers, reverse=True),
    "largest": lambda numbers: [max(numbers)],
    "smallest": lambda numbers: [min(numbers)],
    "first_number": lambda numbers: numbers[:1],
    "last_number": lambda numbers: numbers[-1:],
    "how_many": lambda numbers: [len(numbers)],
    "pick_even": lambda numbers: [n for n in numbers if n % 2 == 0],
    "pick_odd": lambda numbers: [n for n in numbers if n % 2],
}
"""What each kind takes from the list; a kind that would take nothing has no answer."""


def numbers_of(text: str, lang: str) -> list[int]:
    """The numbers of a list as a kind writes it; none where it is not such a list."""
    parts = text.split(COMMA[lang])
    is_list = 1 < len(parts) <= MAX_LENGTH and all(p.isdecimal() and len(p) < 4 for p in parts)
    return [int(p) for p in parts] if is_list else []


def listed(numbers: list[int], lang: str) -> str:
    return COMMA[lang].join(map(str, numbers))


def _some_numbers(lang: str, is_wanted: Callable[[list[int]], bool]) -> Sample:
    def sample(rng: Random, level: int) -> Slots:
        while True:
            drawn = rng.sample(range(1, HIGHEST[level] + 1), rng.randint(*LENGTHS[level]))
            if is_wanted(drawn):
                return {"list": listed(drawn, lang)}

    return sample


def _taken(lang: str, pick: Pick) -> Solve:
    def solve(slots: Slots) -> str | None:
        numbers = numbers_of(slots["list"], lang)
        return (listed(pick(numbers), lang) if numbers else None) or None

    return solve


def list_kind(lang: str, name: str, group: tuple[str, str], phrasings: tuple[str, ...]) -> Kind:
    pick = PICKED[name]
    sample = _some_numbers(lang, lambda numbers: bool(pick(numbers)))
    return asked(lang, name, group, phrasings, sample, _taken(lang, pick))


ORDERED = (
    list_kind(
        "en",
        "sort_rising",
        SORT,
        (
            "Sort these numbers from small to large: {list}.",
            "Put {list} in [rising|increasing|ascending] order.",
            "Write {list} again with the [smallest|lowest] number first.",
            "{name} wants to see {list} sorted so that the largest ends up last.",
            "[Order|Arrange] {list} in such a way that they grow [from left to right|step by step].",
            "The cards of {name} show {list}. [Line them up|Lay them out], low ones on the left.",
            "How does the list {list} look once it is sorted upwards?",
            "Starting with the smallest, [say|read out] {list} one after another to {other}.",
        ),
    ),
    list_kind(
        "zh",
        "sort_rising",
        SORT,
        (
            "[把这些数|将下面的数]从小到大[排列|排好]：{list}。",
            "请按从小到大的[顺序|次序][写出|说出]{list}。",
            "{name}想把{list}排好，[最小|小]的放在最前面，[写出结果|怎么排]。",
            "将{list}[按升序|由低到高]重新排一排。",
            "[卡片|球衣]上是{list}，请{name}从左到右越来越大地[摆好|排队]。",
            "[先说|先写]最小的，再依次[说出|写出]其余的数：{list}。",
            "如果[数字|后面]要一个比一个大，{list}[应该怎么写|该怎么排]？",
            "{other}给{name}看了{list}，让他从最小数到最大，结果是什么？",
        ),
    ),
    list_kind(
        "en",
        "sort_falling",
        SORT,
        (
            "[Sort|Order|Put] {list} from [large to small|high to low].",
            "In what order do {list} stand when the [biggest|greatest] comes first?",
            "Bring {list} into [falling|decreasing|descending] order.",
            "In a game {name} gets {list} points. [Rank the results, best one first|Name the best "
            "first, then the others in order].",
            "[Begin|Start] with the greatest and [end|finish] with the smallest: {list}.",
            "[Change|Turn] {list} round so that each number is smaller than the one before it.",
            "{other} has tickets with {list} on them. [Make a row that goes|Lay them out] from high to low.",
            "Please repeat {list} downwards, that is, with the top value at the beginning.",
        ),
    ),
    list_kind(
        "zh",
        "sort_falling",
        SORT,
        (
            "[把|请将]{list}从大到小[排列|排个队]。",
            "请按由高到低的顺序[写一遍|列出]：{list}。",
            "{name}几次的得分是{list}，[最好的成绩排第一，怎么排|从高分说到低分，怎么说]？",
            "[按降序|按递减的顺序]整理{list}，写出结果。",
            "从最大的开始，到最小的为止，[说出|依次念出|写下]{list}。",
            "[怎样排|怎么摆]{list}，才能让后一个数[总比前一个小|越来越小]？",
            "{other}手里的票号是{list}，大的在[左|前]，小的在[右|后]，请摆好。",
            "让{name}把{list}倒着排，也就是大数领头，结果如何？",
        ),
    ),
)

EXTREMES = (
    list_kind(
        "en",
        "largest",
        COMPARE,
        (
            "Which number is the largest: {list}?",
            "Find the [biggest|highest] of {list}.",
            "{name} [compares|looks through] {list}. Which one [wins as the greatest|is the largest]?",
            "[What|How large] is the [maximum|biggest entry] of {list}?",
            "Of the numbers {list}, which is above all the others?",
            "In a game {name} scores {list} points. What is the best [score|result]?",
            "The bags at {place} weigh {list} kilos. How many kilos has the heaviest bag?",
            "{other} reads {list} aloud. Repeat only the top [value|number].",
        ),
    ),
    list_kind(
        "zh",
        "largest",
        COMPARE,
        (
            "[请问|想一想，]哪个数最大：{list}？",
            "[找出|圈出|说出]{list}里最大的数。",
            "{name}比较了{list}，[最高|最大]的是几？",
            "请[写出|求出]{list}的[最大值|最大数]。",
            "在{list}当中，哪一个比其他的都大？",
            "{name}玩游戏得了{list}分，[最好的一次是多少分|最高得几分]？",
            "{place}的几个箱子重{list}公斤，[最重的是多少公斤|哪个重量居首]？",
            "{other}念了{list}，请只说数值最高的那个。",
        ),
    ),
    list_kind(
        "en",
        "smallest",
        COMPARE,
        (
            "Which number is the smallest: {list}?",
            "Pick the [least|lowest] of {list}.",
            "{name} [looks at|reads] {list}. Which one is [below|less than] all the rest?",
            "What is the minimum of {list}?",
            "If {list} stood in a line by size, which would be the tiniest?",
            "The tickets for {event} cost {list} dollars. [What does the cheapest one cost|Which is "
            "the lowest price]?",
            "{name} needed {list} minutes on the way to {place}. [What was the shortest time|How "
            "long did the fastest trip take]?",
            "Tell {other} the lowest value among {list}.",
        ),
    ),
    list_kind(
        "zh",
        "smallest",
        COMPARE,
        (
            "[请问|想一想，]哪个数最小：{list}？",
            "[挑出|圈出|说出]{list}里最小的数。",
            "{name}看了看{list}，[最低|最小]的是几？",
            "请[写出|求出]{list}的[最小值|最小数]。",
            "在{list}当中，哪一个比其他的都小？",
            "{event}的票价有{list}元几种，[最便宜的要多少元|最低价是几元]？",
            "{name}几次去{place}用了{list}分钟，[最短用了多少分钟|最快的一次是几分钟]？",
            "请告诉{other}，{list}这些数里哪个排在末尾最低的位置？",
        ),
    ),
)

KINDS = ORDERED + EXTREMES
