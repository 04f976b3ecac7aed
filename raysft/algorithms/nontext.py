"""Code, tables and formulas inside a text, and whether another text still has them.

    parts_of(text)          its parts: code, then table rows, then formulas
    first_lost(given, new)  the first part of `given` that `new` has no more, or None

What counts
    code       Markdown fences (``` or ~~~), closed or not, and HTML <pre> and <code>
    table      two or more lines side by side that hold "|", with a line of dashes among them or "|" at the
               start of each; each line is a part, the dashes are none. And HTML <table>, as one part
    formula    $…$, $$…$$, \\(…\\), \\[…\\] and \\begin{…}…\\end{…}. As in Pandoc's Markdown, a single $ opens
               one only before a character and closes it only after one and not before a digit; and what
               is between holds no prose and as many opening brackets as closing ones. So amounts of
               money are none, and few variables of PHP or a shell are
Code without a fence, indented code, `inline code`, JSON and comma-separated values are not told from prose.

Parts are compared by content, without white space: fences, pipes at the ends of a line and formula signs
may change. A formula of one or two characters (x, 2n) must stand in a formula, longer ones anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from raysft.algorithms.words import CJK_CHARACTER

SHORT_FORMULA = 2

# A pattern stops where its opening mark stands again: a text full of them is read in linear time, and of
# nested ones the innermost counts.
_FENCE = re.compile(
    r"^[ \t]*(?P<mark>`{3,}|~{3,})[^`\n]*\n(?P<block>.*?)(?:^[ \t]*(?P=mark)[`~]*[ \t]*$|\Z)"
    r"|```(?P<line>[^`\n]+)```",
    re.DOTALL | re.MULTILINE,
)
_HTML = re.compile(
    r"<(?P<tag>table|pre|code)\b[^<>]*>(?P<content>(?:(?!<(?P=tag)\b).)*?)</(?P=tag)\s*>",
    re.DOTALL | re.IGNORECASE,
)
_DASHES = re.compile(r"\|?:?-+:?(?:\|:?-+:?)*\|?")
_FORMULA = re.compile(
    r"\$\$(?P<display>.+?)\$\$"
    r"|\\\[(?P<bracket>(?:(?!\\\[).)+?)\\\]"
    r"|\\\((?P<parenthesis>(?:(?!\\\().)+?)\\\)"
    r"|\\begin\{(?P<name>\w+\*?)\}(?P<environment>(?:(?!\\begin\b).)+?)\\end\{(?P=name)\}"
    r"|(?<![\\$])\$(?=[^\s$])(?P<inline>[^$\n]+)(?<=\S)\$(?![\d$])",
    re.DOTALL,
)
_FORMULA_GROUPS = ("display", "bracket", "parenthesis", "environment", "inline")
_PROSE = re.compile(rf"[A-Za-z]{{2,}} [A-Za-z]{{2,}}|{CJK_CHARACTER.pattern}")


@dataclass(frozen=True)
class Part:
    """One piece of code, line of a table or formula, without its marks and without white space."""

    kind: Literal["code", "table", "formula"]
    content: str


def parts_of(text: str) -> list[Part]:
    """The text's code, then its tables line by line, then its formulas."""
    fenced, text = _taken_out(_FENCE, text)
    tagged, text = _taken_out(_HTML, text)
    parts = [Part("code", _without_space(found["block"] or found["line"] or "")) for found in fenced]
    parts += [
        Part("table" if found["tag"].lower() == "table" else "code", _without_space(found["content"]))
        for found in tagged
    ]
    parts += [Part("table", row.strip("|")) for row in _table_rows(text)]
    parts += [Part("formula", _without_space(formula)) for formula in _formulas(text)]
    return [part for part in parts if part.content]


def first_lost(given: str, new: str) -> Part | None:
    """The first part of `given` whose content `new` does not hold, or None."""
    wanted = parts_of(given)
    if not wanted:
        return None
    whole = _without_space(new)
    formulas = [part.content for part in parts_of(new) if part.kind == "formula"]
    for part in wanted:
        is_short = part.kind == "formula" and len(part.content) <= SHORT_FORMULA
        if not any(part.content in place for place in (formulas if is_short else [whole])):
            return part
    return None


def _taken_out(pattern: re.Pattern[str], text: str) -> tuple[list[re.Match[str]], str]:
    """The pattern's matches, and the text with a line break in the place of each."""
    return list(pattern.finditer(text)), pattern.sub("\n", text)


def _table_rows(text: str) -> Iterator[str]:
    for has_pipe, group in groupby(text.splitlines(), lambda line: "|" in line):
        lines = [_without_space(line) for line in group] if has_pipe else []
        is_dashes = [_DASHES.fullmatch(line) is not None for line in lines]
        if len(lines) > 1 and (any(is_dashes) or all(line.startswith("|") for line in lines)):
            yield from (line for line, dashes in zip(lines, is_dashes, strict=True) if not dashes)


def _formulas(text: str) -> Iterator[str]:
    for found in _FORMULA.finditer(text):
        content = next(found[name] for name in _FORMULA_GROUPS if found[name])
        if found["inline"] is None or _reads_as_formula(content):
            yield content


def _reads_as_formula(inline: str) -> bool:
    opened, closed = (sum(map(inline.count, signs)) for signs in ("([{", ")]}"))
    return opened == closed and ("\\" in inline or _PROSE.search(inline) is None)


def _without_space(text: str) -> str:
    return "".join(text.split())
