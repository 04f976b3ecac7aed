"""Kinds whose answer is a number, an order or a date: arithmetic, word problems, sorting, the calendar."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from raysft.world import vocabulary as v
from raysft.world.kind import Kind, Sample, Slots, Solve

COMMA = {"en": ", ", "zh": "、"}
MAX_ADDEND, MAX_MINUEND, MAX_FACTOR = 12, 20, 9


def _add(slots: Slots) -> str | None:
    return str(int(slots["a"]) + int(slots["b"]))


def _subtract(slots: Slots) -> str | None:
    difference = int(slots["a"]) - int(slots["b"])
    return str(difference) if difference >= 0 else None


def _multiply(slots: Slots) -> str | None:
    return str(int(slots["a"]) * int(slots["b"]))


def _two(low: int, high: int) -> Sample:
    return lambda rng, level: {"a": str(rng.randint(low, high)), "b": str(rng.randint(low, high))}


def _ordered(rng: Random, level: int) -> Slots:
    a = rng.randint(4, MAX_MINUEND)
    return {"a": str(a), "b": str(rng.randint(2, a - 2))}


def _told(numbers: Sample, names: tuple[str, ...], items: tuple[str, ...]) -> Sample:
    return lambda rng, level: {**numbers(rng, level), "name": rng.choice(names), "items": rng.choice(items)}


_addends, _factors = _two(1, MAX_ADDEND), _two(2, MAX_FACTOR)
_MATHS = ("arithmetic", "mathematics")
_STORY = ("word_problem", "mathematics")

ARITHMETIC = (
    Kind(
        "add",
        *_MATHS,
        "en",
        ("What is {a} + {b}?", "Add {a} and {b}.", "How much is {a} plus {b}?"),
        _addends,
        _add,
        "{a} + {b} = {answer}.",
    ),
    Kind(
        "add",
        *_MATHS,
        "zh",
        ("请问{a}+{b}等于几？", "{a}加{b}的结果等于多少？", "请计算一下{a}+{b}。"),
        _addends,
        _add,
        "{a}+{b}={answer}。",
    ),
    Kind(
        "subtract",
        *_MATHS,
        "en",
        ("What is {a} - {b}?", "Take {b} away from {a}.", "How much is {a} minus {b}?"),
        _ordered,
        _subtract,
        "{a} - {b} = {answer}.",
    ),
    Kind(
        "subtract",
        *_MATHS,
        "zh",
        ("请问{a}-{b}等于几？", "{a}减{b}的结果等于多少？", "请计算一下{a}-{b}。"),
        _ordered,
        _subtract,
        "{a}-{b}={answer}。",
    ),
    Kind(
        "multiply",
        *_MATHS,
        "en",
        ("What is {a} x {b}?", "Multiply {a} by {b}.", "How much is {a} times {b}?"),
        _factors,
        _multiply,
        "{a} x {b} = {answer}.",
    ),
    Kind(
        "multiply",
        *_MATHS,
        "zh",
        ("请问{a}×{b}等于几？", "{a}乘{b}的结果等于多少？", "请计算一下{a}×{b}。"),
        _factors,
        _multiply,
        "{a}×{b}={answer}。",
    ),
)

STORIES = (
    Kind(
        "story_add",
        *_STORY,
        "en",
        (
            "{name} has {a} {items} and gets {b} more. How many {items} does {name} have now?",
            "{name} buys {a} {items} in the morning and {b} in the evening. How many {items} is that?",
        ),
        _told(_addends, v.NAMES_EN, v.COUNTED_EN),
        _add,
        "{name} has {answer} {items}.",
    ),
    Kind(
        "story_add",
        *_STORY,
        "zh",
        (
            "{name}有{a}个{items}，又得到{b}个，现在有几个{items}？",
            "{name}上午买了{a}个{items}，下午又买了{b}个，一共买了几个{items}？",
        ),
        _told(_addends, v.NAMES_ZH, v.COUNTED_ZH),
        _add,
        "{name}一共有{answer}个{items}。",
    ),
    Kind(
        "story_subtract",
        *_STORY,
        "en",
        (
            "{name} has {a} {items} and gives away {b}. How many {items} are left?",
            "There are {a} {items} on the table. {name} takes {b}. How many {items} stay there?",
        ),
        _told(_ordered, v.NAMES_EN, v.COUNTED_EN),
        _subtract,
        "There are {answer} {items} left.",
    ),
    Kind(
        "story_subtract",
        *_STORY,
        "zh",
        (
            "{name}有{a}个{items}，送给别人{b}个，还剩几个{items}？",
            "桌上有{a}个{items}，{name}拿走了{b}个，桌上还有几个{items}？",
        ),
        _told(_ordered, v.NAMES_ZH, v.COUNTED_ZH),
        _subtract,
        "还剩{answer}个{items}。",
    ),
    Kind(
        "story_multiply",
        *_STORY,
        "en",
        (
            "{name} has {a} boxes with {b} {items} in each. How many {items} does {name} have?",
            "{name} packs {a} bags. Each bag holds {b} {items}. How many {items} are packed?",
        ),
        _told(_factors, v.NAMES_EN, v.COUNTED_EN),
        _multiply,
        "There are {answer} {items} in all.",
    ),
    Kind(
        "story_multiply",
        *_STORY,
        "zh",
        (
            "{name}有{a}盒{items}，每盒{b}个，一共有几个{items}？",
            "{name}装了{a}袋{items}，每袋{b}个，一共装了几个{items}？",
        ),
        _told(_factors, v.NAMES_ZH, v.COUNTED_ZH),
        _multiply,
        "一共有{answer}个{items}。",
    ),
)


def _code(name: str, sign: str, lang: str, sample: Sample, solve: Solve) -> Kind:
    asked = {
        "en": f"What does the code print({{a}} {sign} {{b}}) print out?",
        "zh": f"运行代码print({{a}} {sign} {{b}})会输出什么？",
    }
    told = {"en": "The code prints {answer}.", "zh": "这行代码输出{answer}。"}
    return Kind(name, "code", "programming", lang, (asked[lang],), sample, solve, told[lang])


CODE = tuple(
    _code(name, sign, lang, sample, solve)
    for lang in ("en", "zh")
    for name, sign, sample, solve in (
        ("code_add", "+", _addends, _add),
        ("code_subtract", "-", _ordered, _subtract),
        ("code_multiply", "*", _factors, _multiply),
    )
)


def _numbers(text: str, lang: str) -> list[int] | None:
    parts = text.split(COMMA[lang])
    return [int(p) for p in parts] if len(parts) > 1 and all(p.isdecimal() for p in parts) else None


def _some_numbers(lang: str) -> Sample:
    def sample(rng: Random, level: int) -> Slots:
        drawn = rng.sample(range(1, 21), rng.choice((3, 3, 4)))
        return {"list": COMMA[lang].join(map(str, drawn))}

    return sample


def _sorted(lang: str, is_falling: bool) -> Solve:
    def solve(slots: Slots) -> str | None:
        numbers = _numbers(slots["list"], lang)
        return COMMA[lang].join(map(str, sorted(numbers, reverse=is_falling))) if numbers else None

    return solve


def _extreme(lang: str, pick: Callable[[list[int]], int]) -> Solve:
    def solve(slots: Slots) -> str | None:
        numbers = _numbers(slots["list"], lang)
        return str(pick(numbers)) if numbers else None

    return solve


def _number_list(name: str, task: str, lang: str, phrasings: tuple[str, ...], solve: Solve) -> Kind:
    return Kind(name, task, "mathematics", lang, phrasings, _some_numbers(lang), solve)


LISTS = (
    _number_list(
        "sort_rising",
        "sorting",
        "en",
        (
            "Sort these numbers from small to large: {list}.",
            "Put the numbers in order, smallest first: {list}.",
        ),
        _sorted("en", False),
    ),
    _number_list(
        "sort_rising",
        "sorting",
        "zh",
        ("把这些数从小到大排列：{list}。", "请按从小到大的顺序写出：{list}。"),
        _sorted("zh", False),
    ),
    _number_list(
        "sort_falling",
        "sorting",
        "en",
        (
            "Sort these numbers from large to small: {list}.",
            "Put the numbers in order, largest first: {list}.",
        ),
        _sorted("en", True),
    ),
    _number_list(
        "sort_falling",
        "sorting",
        "zh",
        ("把这些数从大到小排列：{list}。", "请按从大到小的顺序写出：{list}。"),
        _sorted("zh", True),
    ),
    _number_list(
        "largest",
        "comparison",
        "en",
        ("Which number is the largest: {list}?", "Find the largest number: {list}."),
        _extreme("en", max),
    ),
    _number_list(
        "largest",
        "comparison",
        "zh",
        ("哪个数最大：{list}？", "找出最大的数：{list}。"),
        _extreme("zh", max),
    ),
    _number_list(
        "smallest",
        "comparison",
        "en",
        ("Which number is the smallest: {list}?", "Find the smallest number: {list}."),
        _extreme("en", min),
    ),
    _number_list(
        "smallest",
        "comparison",
        "zh",
        ("哪个数最小：{list}？", "找出最小的数：{list}。"),
        _extreme("zh", min),
    ),
)

KINDS = ARITHMETIC + STORIES + CODE + LISTS
