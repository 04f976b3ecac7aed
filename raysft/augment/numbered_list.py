"""The numbered list that a model is asked for: its form, and what it wrote, however it chose to number it."""

from __future__ import annotations

import re

_ONES = "[一二三四五六七八九]"
_DIGITS = {digit: value for value, digit in enumerate("零一二三四五六七八九")}
_MARK = re.compile(
    r"^[\s*#>]*"  # Markdown around the number
    r"(?:(?:task|item|no\.?)\s*|任务|题目|问题|指令|第)?"
    rf"[(（\[【]?\s*(?P<number>\d{{1,3}}|{_ONES}?十{_ONES}?|{_ONES}{{1,2}})\s*[条题个]?[*\s]*"
    r"(?:\.(?!\d)|[．。、:：)）\]】])"
    r"[\s*]*",
    re.IGNORECASE,
)


def pattern(first: int, last: int) -> str:
    """A regular expression for one-line items numbered from `first` on: at least that one, `last` at most."""
    form = ""
    for number in range(last, first - 1, -1):
        opening = "" if number == first else r"\n"
        item = rf"{opening}{number}\. [^\s][^\r\n]*{form}"
        form = item if number == first else f"(?:{item})?"
    return form


def items(text: str) -> list[str]:
    """The items of the first numbered list in `text`, without their numbers; [] if there is none.

    An item begins at a line with a higher number than the item before; a list inside an item begins
    again at 1 and so stays part of it, and so do lines without a number. In a list that begins later than
    at 1 every number that is not below its first begins an item, since weak models repeat numbers; and
    where all numbers are the same, each does. Lines before the first number are not part of the list.
    Numbers may be Arabic (full-width too) or Chinese up to 九十九, after words such as "Task" or 第, before
    . 、 : ) and the like.
    """
    lines = text.strip().splitlines()
    marks = [_MARK.match(line) for line in lines]
    numbers = [number_of(mark["number"]) if mark else None for mark in marks]
    all_same = len({n for n in numbers if n is not None}) == 1
    found: list[list[str]] = []
    first = next((n for n in numbers if n is not None), 0)
    last = -1
    for line, mark, number in zip(lines, marks, numbers, strict=True):
        if mark is not None and number is not None and (all_same or number > last or number >= first > 1):
            found.append([line[mark.end() :]])
            last = number
        elif found:
            found[-1].append(line)
    return ["\n".join(item).strip().removesuffix("**").strip() for item in found]


def number_of(numeral: str) -> int:
    """The value of an Arabic numeral, or of a Chinese one below 100 (十二 is 12, 三十 is 30).

    Characters beside each other without 十 are read as digits: 一二 is 12.
    """
    if numeral.isdecimal():
        return int(numeral)
    tens, ten, ones = numeral.partition("十")
    if not ten:
        return int("".join(str(_DIGITS[c]) for c in numeral))
    return 10 * (_DIGITS[tens] if tens else 1) + (_DIGITS[ones] if ones else 0)
