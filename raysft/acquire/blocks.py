"""A document's text → blocks: headings, clauses, paragraphs, tables, list items, code.

A block is a run of whole lines; all blocks joined by line breaks are the document, but for blank lines.
Headings by # and fences around code count in Markdown only; all other rules hold for plain text too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from raysft.acquire.headings import Heading, heading_of, item_style, title_of, underlined

Kind = Literal["heading", "clause", "paragraph", "table", "list_item", "code"]

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_ITEM = re.compile(
    r"\s*(?:[-*+•◦▪·●○■–—][ \t\u3000]+|\d{1,3}[.)、）．][ \t\u3000]*(?=\D)|[a-zA-Z][.)）][ \t\u3000]+"
    r"|[（(](?:\d{1,3}|[a-zA-Z]|[一二三四五六七八九十]{1,3})[)）]|[一二三四五六七八九十]{1,3}、|[①-⑳])\s*\S"
)
_ROW = re.compile(r"\s*\|")
_DELIMITER = re.compile(r"\s*\|?\s*:?-{2,}:?\s*(?:\|\s*:?-{2,}:?\s*)+\|?\s*$")
_INDENT = "\u3000\u3000"  # begins a paragraph of Chinese plain text


@dataclass(frozen=True)
class Block:
    """`rank` and `title` are those of a heading or clause (raysft/acquire/headings.py)."""

    kind: Kind
    text: str
    rank: int | None = None
    title: str = ""


def blocks(text: str, markdown: bool) -> list[Block]:
    """The blocks of a document, in Markdown or plain text, in order."""
    lines = [line.rstrip() for line in text.splitlines()]
    found: list[Block] = []
    at = 0
    while at < len(lines):
        if not lines[at]:
            at += 1
            continue
        block, at = _block(lines, at, found, markdown)
        title = title_of(block.text) if block.kind == "paragraph" and not found and not markdown else None
        found.append(Block("heading", block.text, title.rank, title.title) if title else block)
    return found


def _block(lines: list[str], at: int, before: list[Block], markdown: bool) -> tuple[Block, int]:
    """The block that begins at a line that is not blank, and the line after it."""
    end = _verbatim_end(lines, at) if markdown else at
    if end > at:
        return Block("code", "\n".join(lines[at:end])), end
    end = _table_end(lines, at)
    if end > at:
        return Block("table", "\n".join(lines[at:end])), end
    heading = _heading(lines, at, before, markdown)
    if heading is not None and not heading.is_clause:
        return Block("heading", lines[at].strip(), heading.rank, heading.title), at + 1
    below = underlined(lines[at], lines[at + 1]) if at + 1 < len(lines) else None
    if below is not None:
        return Block("heading", "\n".join(lines[at : at + 2]), below.rank, below.title), at + 2
    is_item = heading is None and _ITEM.match(lines[at]) is not None
    end = at + 1
    while end < len(lines) and lines[end] and not _begins(lines, end, markdown):
        end += 1
    joined = "\n".join(lines[at:end])
    if heading is not None:
        return Block("clause", joined, heading.rank, heading.title), end
    return Block("list_item" if is_item else "paragraph", joined), end


def starts_block(line: str, markdown: bool) -> Literal["heading", "other"] | None:
    """Whether a line begins a block whatever stands around it, and if so, whether all of it is a heading."""
    heading = heading_of(line, markdown)
    if heading is not None and not heading.is_clause:
        return "heading"
    begins = heading is not None or line.startswith(_INDENT) or _ITEM.match(line) or _ROW.match(line)
    return "other" if begins else None


def _begins(lines: list[str], at: int, markdown: bool) -> bool:
    """Whether a line that follows another without a blank line begins a block of its own."""
    line = lines[at]
    return (
        starts_block(line, markdown) is not None
        or (markdown and _verbatim_end(lines, at) > at)
        or _table_end(lines, at) > at
        or (at + 1 < len(lines) and underlined(line, lines[at + 1]) is not None)
    )


def _heading(lines: list[str], at: int, before: list[Block], markdown: bool) -> Heading | None:
    heading = heading_of(lines[at], markdown)
    if heading is None or not heading.may_be_item:
        return heading
    after = at + 1
    while after < len(lines) and not lines[after]:
        after += 1
    goes_on = after < len(lines) and item_style(lines[after]) == heading.rank
    went_on = bool(before) and before[-1].kind == "list_item" and item_style(before[-1].text) == heading.rank
    return None if goes_on or went_on else heading


def _verbatim_end(lines: list[str], at: int) -> int:
    """The line after a fenced block of code, or after the settings (---) that a Markdown file begins with;
    `at` if there is none here. A fence that nobody closes holds the rest."""
    if at == 0 and lines[0] == "---":
        end = next((i for i, line in enumerate(lines[1:], 1) if line in ("", "---")), 0)
        return end + 1 if end and lines[end] else at
    fence = _FENCE.match(lines[at])
    if fence is None:
        return at
    for end in range(at + 1, len(lines)):
        closing = _FENCE.match(lines[end])
        if closing and closing[1].startswith(fence[1]) and not lines[end].strip().strip(fence[1][0]):
            return end + 1
    return len(lines)


def _table_end(lines: list[str], at: int) -> int:
    """The line after a table of | in Markdown's way; `at` if there is none here."""
    has_head = at + 1 < len(lines) and "|" in lines[at] and _DELIMITER.match(lines[at + 1]) is not None
    if not has_head and not (_ROW.match(lines[at]) and lines[at].count("|") > 1):
        return at
    end = at + 1
    while end < len(lines) and "|" in lines[end]:
        end += 1
    return end
