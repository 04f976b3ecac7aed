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
            "Which number [comes first|stands first] in the [list|row] {list}?",
            "{name} writes {list}. [With which number does the row begin|What was written first]?",
            "[Give|Say|Write] [only|just] the first of {list}.",
            "Read {list} from the left and stop after one number. [Which is it|What did you read]?",
            "The lockers {list} belong to {name} and friends. [Name the one that was said first|Give "
            "the one at the front].",
            "What stands at the [head|start] of {list}?",
        ),
    ),
    list_kind(
        "zh",
        "first_number",
        COUNT,
        (
            "[请问|请看，]{list}的[第一个|头一个]数是几？",
            "{name}[写下|抄了]{list}，[开头的数是多少|最先写的是几]？",
            "[只写出|请说出]{list}中[排在首位|打头]的数。",
            "从左边念{list}，最先念到[哪个数|几]？",
            "{other}[报了|念了]一串号码{list}，[第一个是什么|先报的是几]？",
            "请看{list}，最左边是哪个数字？",
        ),
    ),
    list_kind(
        "en",
        "last_number",
        COUNT,
        (
            "Which number is the [last|final] one in [the list|the row] {list}?",
            "{name} calls out {list}. [Which number was heard at the end|What was said last]?",
            "Give only the final number of {list}.",
            "With what does the row {list} [end|close|finish]?",
            "Buses {list} pass {place} in this order. [Which bus comes after all the others|What is "
            "the number of the last one]?",
            "[Skip|Leave out] everything but the last [number|one]: {list}.",
        ),
    ),
    list_kind(
        "zh",
        "last_number",
        COUNT,
        (
            "[请问|请看，]{list}的[最后一个|末一个]数是几？",
            "{name}[念了|写了]{list}，[结尾的数是多少|最后是几]？",
            "[只写出|请说出]{list}中[排在末位|收尾]的数。",
            "从左往右看{list}，到头时看到[哪个数|几]？",
            "{list}路公交车依次开过{place}，[末尾一辆是几路|最后来的是几路]？",
            "前面的都跳过，{list}[只留最右边的|只看最末的]，是几？",
        ),
    ),
    list_kind(
        "en",
        "how_many",
        COUNT,
        (
            "How many numbers [are in|make up|has] the [list|row] {list}?",
            "{name} writes {list} on paper. [How many numbers is that|What does one get by counting them]?",
            "[Count|Find the number of] the entries [of|in] {list}.",
            "The rooms {list} are free for {event}. [How many free rooms are there|What is the "
            "number of rooms]?",
            "What is the length of the row {list}?",
            "{other} buys the tickets {list}. How many [tickets are bought|pieces of paper is that]?",
        ),
    ),
    list_kind(
        "zh",
        "how_many",
        COUNT,
        (
            "[请问|数数看，]{list}里[有几个数|一共几个]？",
            "{name}在纸上写了{list}，[一共写了多少个数|写了几个]？",
            "[数一数|请写出]{list}的[个数|项数]。",
            "{event}可以用{list}号房间，[共有几间|房间数是多少]？",
            "这一列数{list}有多长，也就是有几项？",
            "{other}买了{list}号票，[买了几张|票有多少张]？",
        ),
    ),
    asked(
        "en",
        "occurrences",
        COUNT,
        (
            "How [often|many times] does {n} [occur|appear] in {list}?",
            "Count how many times the number {n} stands in {list}.",
            "{name} throws a die with these results: {list}. [How many throws gave|How often came] {n}?",
            "In the row {list}, how many entries equal {n}?",
            "The marks of {other} are {list}. How often did the mark {n} [come up|appear]?",
            "{name} looks for {n} among {list}. [How many can be found|How often is it there]?",
        ),
        _repeating("en"),
        _occurrences("en"),
    ),
    asked(
        "zh",
        "occurrences",
        COUNT,
        (
            "在{list}里，{n}[出现了几次|有几个]？",
            "[数一数|请算出]{list}中[有多少个|共有几个]{n}。",
            "{name}抽到的数字依次是{list}，[抽到|拿到]{n}[几回|多少次]？",
            "这列数是{list}，等于{n}的有几项？",
            "{other}的分数是{list}，得{n}分有多少次？",
            "{name}在{list}里找{n}，[能找到几个|找得到多少]？",
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
            "[Write down|Give|Name] the even [numbers|ones] of {list}.",
            "Which of {list} can be divided by two?",
            "{name} keeps only even numbers from {list}. [What stays|Which are kept]?",
            "The houses {list} stand in our street. [Name those with an even number|Tell the even ones].",
            "[Leave out|Drop|Cross out] [all that is odd|every odd number]: {list}.",
            "From [the list|the row] {list}, [copy|take] every even entry for {other}.",
        ),
    ),
    list_kind(
        "zh",
        "pick_even",
        COUNT,
        (
            "[写出|说出|找出]{list}里的双数。",
            "请问{list}中[哪些数|哪几个]能被2[整除|除尽]？",
            "{name}只留下{list}里的偶数，[留下的是什么|会留哪几个]？",
            "街上有{list}号房子，[门牌是双号的有哪些|哪几座是双号]？",
            "[去掉|划去]所有单数，{list}[还剩什么|剩下哪些]？",
            "请从{list}中[挑出|选出]偶数[给|让]{other}看。",
        ),
    ),
    list_kind(
        "en",
        "pick_odd",
        COUNT,
        (
            "[List|Name|Copy] the odd [numbers|ones] among {list}.",
            "Which of {list} cannot be split into two equal halves of whole numbers?",
            "{name} crosses out the even ones in {list}. [Which are left over|What remains]?",
            "Players {list} are on the field. [Say who wears an odd number|Name the odd ones].",
            "[Pick out|Keep only|Circle] what is odd: {list}.",
            "{other} collects odd numbers. Which does {other} take from {list}?",
        ),
    ),
    list_kind(
        "zh",
        "pick_odd",
        COUNT,
        (
            "[写出|说出|找出]{list}里的单数。",
            "请问{list}中[哪些数|哪几个]除以2[有余数|除不尽]？",
            "{name}把{list}里的双数都[划掉|擦掉]，[还留着哪些|剩什么]？",
            "场上的球员是{list}号，[穿单号球衣的是几号|其中的单号有哪些]？",
            "[请挑选奇数|请圈出所有奇数]：{list}。",
            "{other}喜欢奇数，会从{list}中拿哪些？",
        ),
    ),
    asked(
        "en",
        "next_number",
        PATTERN,
        (
            "Which number [comes next|follows now]: {list}?",
            "[Continue|Go on with] the [sequence|series] {list} by one number.",
            "{name} [always takes the same step|counts evenly]: {list}. [What follows|What is said next]?",
            "The row {list} has a rule. [Name the next entry|Find what stands behind it].",
            "{other} saves money, week by week {list} dollars. [How much will it be in the following "
            "week|What comes a week later]?",
            "After {list}, what should {name} [write|say] to [keep the pattern|go on like that]?",
        ),
        _steps("en"),
        _next("en"),
    ),
    asked(
        "zh",
        "next_number",
        PATTERN,
        (
            "[按规律|照此规律]，{list}[后面是几|之后是什么数]？",
            "请[把|给]数列{list}[接着写一个数|补上下一项]。",
            "{name}[每次加减同一个数|按一样的步子数]：{list}，[下一个得几|再数是几]？",
            "[观察|看看]{list}，[猜猜接下来的数|想想随后的数字]。",
            "{other}每周的存款是{list}元，[照这样下周是多少元|再过一周存几元]？",
            "{name}写了{list}，[如果不改变规律，该再写什么|接着应写几]？",
        ),
        _steps("zh"),
        _next("zh"),
    ),
)

KINDS = PLACES + PATTERNS
