"""Kinds that pick or count numbers of a list, or continue it."""

from __future__ import annotations

from itertools import pairwise
from random import Random

from raysft.world.context import asked
from raysft.world.kind import Sample, Slots, Solve
from raysft.world.number_lists import list_kind, listed, numbers_of

COUNT, PATTERN = ("counting", "mathematics"), ("sequence", "mathematics")


def _occurrences(lang: str) -> Solve:
    def solve(slots: Slots) -> str | None:
        numbers = numbers_of(slots["list"], lang)
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
        return {"n": str(n), "list": listed(numbers, lang)}

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
        return {"list": listed(numbers, lang)}

    return sample


def _next(lang: str) -> Solve:
    def solve(slots: Slots) -> str | None:
        numbers = numbers_of(slots["list"], lang)
        steps = {second - first for first, second in pairwise(numbers)}
        if len(numbers) < 3 or len(steps) != 1 or steps == {0}:
            return None
        following = numbers[-1] + steps.pop()
        return str(following) if following >= 0 else None

    return solve


PLACES = (
    list_kind(
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
    list_kind(
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
    list_kind(
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
    list_kind(
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
    list_kind(
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
    list_kind(
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
    list_kind(
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
    list_kind(
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
    list_kind(
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
    list_kind(
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

KINDS = PLACES + PATTERNS
