"""Kinds that look at a list of numbers: order, extremes, places, counts, parity, what comes next."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from random import Random

from raysft.world.context import COMMA, asked
from raysft.world.kind import Kind, Sample, Slots, Solve

MAX_LENGTH = 12
SORT, COMPARE, COUNT, PATTERN = (
    (task, "mathematics") for task in ("sorting", "comparison", "counting", "sequence")
)
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


def _numbers(text: str, lang: str) -> list[int]:
    """The numbers of a list as a kind writes it; none where it is not such a list."""
    parts = text.split(COMMA[lang])
    is_list = 1 < len(parts) <= MAX_LENGTH and all(p.isdecimal() and len(p) < 4 for p in parts)
    return [int(p) for p in parts] if is_list else []


def _listed(numbers: list[int], lang: str) -> str:
    return COMMA[lang].join(map(str, numbers))


def _some_numbers(lang: str, is_wanted: Callable[[list[int]], bool]) -> Sample:
    def sample(rng: Random, level: int) -> Slots:
        while True:
            drawn = rng.sample(range(1, HIGHEST[level] + 1), rng.randint(*LENGTHS[level]))
            if is_wanted(drawn):
                return {"list": _listed(drawn, lang)}

    return sample


def _taken(lang: str, pick: Pick) -> Solve:
    def solve(slots: Slots) -> str | None:
        numbers = _numbers(slots["list"], lang)
        return (_listed(pick(numbers), lang) if numbers else None) or None

    return solve


def _list_kind(lang: str, name: str, group: tuple[str, str], phrasings: tuple[str, ...]) -> Kind:
    pick = PICKED[name]
    sample = _some_numbers(lang, lambda numbers: bool(pick(numbers)))
    return asked(lang, name, group, phrasings, sample, _taken(lang, pick))


def _occurrences(lang: str) -> Solve:
    def solve(slots: Slots) -> str | None:
        numbers = _numbers(slots["list"], lang)
        return str(numbers.count(int(slots["n"]))) if numbers else None

    return solve


def _repeating(lang: str) -> Sample:
    """4 to 8 digits, one of them once to four times."""

    def sample(rng: Random, level: int) -> Slots:
        n, length = rng.randint(1, 9), 2 * level + 2
        others = [digit for digit in range(1, 10) if digit != n]
        numbers = [n] * rng.randint(1, min(level + 1, 4))
        numbers += [rng.choice(others) for _ in range(length - len(numbers))]
        rng.shuffle(numbers)
        return {"n": str(n), "list": _listed(numbers, lang)}

    return sample


def _steps(lang: str) -> Sample:
    """Level 1 goes up by 1, 2, 5 or 10; level 2 by up to 6; level 3 up or down, from a larger start."""

    def sample(rng: Random, level: int) -> Slots:
        step = rng.choice((1, 2, 5, 10)) if level == 1 else rng.randint(2, 6 if level == 2 else 9)
        length = rng.choice((3, 4))
        first = rng.randint(1, {1: 12, 2: 30, 3: 60}[level])
        numbers = [first + step * at for at in range(length)]
        if level == 3 and rng.random() < 0.5:
            numbers = [n + step for n in reversed(numbers)]
        return {"list": _listed(numbers, lang)}

    return sample


def _next(lang: str) -> Solve:
    def solve(slots: Slots) -> str | None:
        numbers = _numbers(slots["list"], lang)
        steps = {second - first for first, second in pairwise(numbers)}
        if len(numbers) < 3 or len(steps) != 1 or steps == {0}:
            return None
        following = numbers[-1] + steps.pop()
        return str(following) if following >= 0 else None

    return solve


ORDERED = (
    _list_kind(
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
    _list_kind(
        "zh",
        "sort_rising",
        SORT,
        (
            "把这些数从小到大排列：{list}。",
            "请按从小到大的顺序写出{list}。",
            "{name}想把{list}排好，[最小|小]的放在最前面，[写出结果|怎么排]。",
            "将{list}[按升序|由低到高]重新排一排。",
            "卡片上是{list}，请{name}从左到右越来越大地摆好。",
            "先说最小的，再依次说出其余的数：{list}。",
            "如果数字要一个比一个大，{list}应该怎么写？",
            "{other}给{name}看了{list}，让他从最小数到最大，结果是什么？",
        ),
    ),
    _list_kind(
        "en",
        "sort_falling",
        SORT,
        (
            "Sort {list} from large to small.",
            "In what order do {list} stand when the [biggest|greatest] comes first?",
            "Bring {list} into [falling|decreasing|descending] order.",
            "In a game {name} gets {list} points. Rank the results, best one first.",
            "Begin with the greatest and end with the smallest: {list}.",
            "[Change|Turn] {list} round so that each number is smaller than the one before it.",
            "{other} has tickets with {list} on them. Make a row that goes from high to low.",
            "Please repeat {list} downwards, that is, with the top value at the beginning.",
        ),
    ),
    _list_kind(
        "zh",
        "sort_falling",
        SORT,
        (
            "把{list}从大到小排列。",
            "请按由高到低的顺序[写一遍|列出]：{list}。",
            "{name}几次的得分是{list}，最好的成绩排第一，怎么排？",
            "[按降序|按递减的顺序]整理{list}，写出结果。",
            "从最大的开始，到最小的为止，说出{list}。",
            "怎样排{list}，才能让后一个数总比前一个小？",
            "{other}手里的票号是{list}，大的在左，小的在右，请摆好。",
            "让{name}把{list}倒着排，也就是大数领头，结果如何？",
        ),
    ),
)

EXTREMES = (
    _list_kind(
        "en",
        "largest",
        COMPARE,
        (
            "Which number is the largest: {list}?",
            "Find the [biggest|highest] of {list}.",
            "{name} compares {list}. Which one wins as the greatest?",
            "What is the maximum of {list}?",
            "Of the numbers {list}, which is above all the others?",
            "In a game {name} scores {list} points. What is the best [score|result]?",
            "The bags at {place} weigh {list} kilos. How many kilos has the heaviest bag?",
            "{other} reads {list} aloud. Repeat only the top [value|number].",
        ),
    ),
    _list_kind(
        "zh",
        "largest",
        COMPARE,
        (
            "请问哪个数最大：{list}？",
            "找出{list}里最大的数。",
            "{name}比较了{list}，[最高|最大]的是几？",
            "请写出{list}的最大值。",
            "在{list}当中，哪一个比其他的都大？",
            "{name}玩游戏得了{list}分，最好的一次是多少分？",
            "{place}的几个箱子重{list}公斤，最重的是多少公斤？",
            "{other}念了{list}，请只说数值最高的那个。",
        ),
    ),
    _list_kind(
        "en",
        "smallest",
        COMPARE,
        (
            "Which number is the smallest: {list}?",
            "Pick the [least|lowest] of {list}.",
            "{name} looks at {list}. Which one is below all the rest?",
            "What is the minimum of {list}?",
            "If {list} stood in a line by size, which would be the tiniest?",
            "The tickets for {event} cost {list} dollars. What does the cheapest one cost?",
            "{name} needed {list} minutes on the way to {place}. What was the shortest time?",
            "Tell {other} the lowest value among {list}.",
        ),
    ),
    _list_kind(
        "zh",
        "smallest",
        COMPARE,
        (
            "请问哪个数最小：{list}？",
            "挑出{list}里最小的数。",
            "{name}看了看{list}，[最低|最小]的是几？",
            "请写出{list}的最小值。",
            "在{list}当中，哪一个比其他的都小？",
            "{event}的票价有{list}元几种，最便宜的要多少元？",
            "{name}几次去{place}用了{list}分钟，最短用了多少分钟？",
            "请告诉{other}，{list}这些数里哪个排在末尾最低的位置？",
        ),
    ),
)

PLACES = (
    _list_kind(
        "en",
        "first_number",
        COUNT,
        (
            "Which number comes first in the list {list}?",
            "{name} writes {list}. With which number does the row begin?",
            "Give only the first of {list}.",
            "Read {list} from the left and stop after one number. Which is it?",
            "The lockers {list} belong to {name} and friends. Name the one that was said first.",
            "What stands at the [head|start] of {list}?",
        ),
    ),
    _list_kind(
        "zh",
        "first_number",
        COUNT,
        (
            "请问{list}的第一个数是几？",
            "{name}写下{list}，开头的数是多少？",
            "只写出{list}中排在首位的数。",
            "从左边念{list}，最先念到[哪个数|几]？",
            "{other}报了一串号码{list}，第一个是什么？",
            "请看{list}，最左边是哪个数字？",
        ),
    ),
    _list_kind(
        "en",
        "last_number",
        COUNT,
        (
            "Which number is the last one in {list}?",
            "{name} calls out {list}. Which number was heard at the end?",
            "Give only the final number of {list}.",
            "With what does the row {list} [end|close|finish]?",
            "Buses {list} pass {place} in this order. Which bus comes after all the others?",
            "Skip everything but the last: {list}.",
        ),
    ),
    _list_kind(
        "zh",
        "last_number",
        COUNT,
        (
            "请问{list}的最后一个数是几？",
            "{name}念了{list}，结尾的数是多少？",
            "只写出{list}中排在末位的数。",
            "从左往右看{list}，到头时看到[哪个数|几]？",
            "{list}路公交车依次开过{place}，末尾一辆是几路？",
            "前面的都跳过，{list}只留最右边的，是几？",
        ),
    ),
    _list_kind(
        "en",
        "how_many",
        COUNT,
        (
            "How many numbers are in the list {list}?",
            "{name} writes {list} on paper. How many numbers is that?",
            "Count the entries of {list}.",
            "The rooms {list} are free for {event}. How many free rooms are there?",
            "What is the length of the row {list}?",
            "{other} buys the tickets {list}. How many tickets has {other} got?",
        ),
    ),
    _list_kind(
        "zh",
        "how_many",
        COUNT,
        (
            "请问{list}里有几个数？",
            "{name}在纸上写了{list}，一共写了多少个数？",
            "数一数{list}的个数。",
            "{event}可以用{list}号房间，共有几间？",
            "这一列数{list}有多长，也就是有几项？",
            "{other}买了{list}号票，买了几张？",
        ),
    ),
    asked(
        "en",
        "occurrences",
        COUNT,
        (
            "How often does {n} occur in {list}?",
            "Count how many times the number {n} stands in {list}.",
            "{name} throws a die with these results: {list}. How many throws gave {n}?",
            "In the row {list}, how many entries equal {n}?",
            "The marks of {other} are {list}. How often did the mark {n} come up?",
            "{name} looks for {n} among {list}. How many can be found?",
        ),
        _repeating("en"),
        _occurrences("en"),
    ),
    asked(
        "zh",
        "occurrences",
        COUNT,
        (
            "在{list}里，{n}出现了几次？",
            "数一数{list}中有多少个{n}。",
            "{name}抽到的数字依次是{list}，抽到{n}几回？",
            "这列数是{list}，等于{n}的有几项？",
            "{other}的分数是{list}，得{n}分有多少次？",
            "{name}在{list}里找{n}，能找到几个？",
        ),
        _repeating("zh"),
        _occurrences("zh"),
    ),
)

PATTERNS = (
    _list_kind(
        "en",
        "pick_even",
        COUNT,
        (
            "Write down the even numbers of {list}.",
            "Which of {list} can be divided by two?",
            "{name} keeps only even numbers from {list}. What does {name} keep?",
            "The houses {list} stand in our street. Name those with an even number.",
            "Leave out all that is odd: {list}.",
            "From the list {list}, copy every even entry for {other}.",
        ),
    ),
    _list_kind(
        "zh",
        "pick_even",
        COUNT,
        (
            "写出{list}里的双数。",
            "请问{list}中哪些数能被2整除？",
            "{name}只留下{list}里的偶数，留下的是什么？",
            "街上有{list}号房子，门牌是双号的有哪些？",
            "去掉所有单数，{list}还剩什么？",
            "请从{list}中挑出偶数给{other}看。",
        ),
    ),
    _list_kind(
        "en",
        "pick_odd",
        COUNT,
        (
            "List the odd numbers among {list}.",
            "Which of {list} cannot be split into two equal halves of whole numbers?",
            "{name} crosses out the even ones in {list}. Which are left over?",
            "Players {list} are on the field. Say who wears an odd number.",
            "Pick out what is odd: {list}.",
            "{other} collects odd numbers. Which does {other} take from {list}?",
        ),
    ),
    _list_kind(
        "zh",
        "pick_odd",
        COUNT,
        (
            "写出{list}里的单数。",
            "请问{list}中哪些数除以2有余数？",
            "{name}把{list}里的双数都划掉，还留着哪些？",
            "场上的球员是{list}号，穿单号球衣的是几号？",
            "请挑选奇数：{list}。",
            "{other}喜欢奇数，会从{list}中拿哪些？",
        ),
    ),
    asked(
        "en",
        "next_number",
        PATTERN,
        (
            "Which number comes next: {list}?",
            "Continue the sequence {list} by one number.",
            "{name} always takes the same step: {list}. What follows?",
            "The row {list} has a rule. Name the next entry.",
            "{other} saves money, week by week {list} dollars. How much will it be in the following week?",
            "After {list}, what should {name} write to keep the pattern?",
        ),
        _steps("en"),
        _next("en"),
    ),
    asked(
        "zh",
        "next_number",
        PATTERN,
        (
            "按规律，{list}后面是几？",
            "请把数列{list}接着写一个数。",
            "{name}每次加减同一个数：{list}，下一个得几？",
            "观察{list}，猜猜接下来的数。",
            "{other}每周的存款是{list}元，照这样下周是多少元？",
            "{name}写了{list}，如果不改变规律，该再写什么？",
        ),
        _steps("zh"),
        _next("zh"),
    ),
)

KINDS = ORDERED + EXTREMES + PLACES + PATTERNS
