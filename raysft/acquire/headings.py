"""Which lines of a document are headings, and how deep: Markdown's, and the numbered ones of standards.

A *rank* orders headings: one of a smaller rank stands above those of a larger one that follow it.
    0         the first line of a plain text, if it stands alone and is short
    1 to 6    Markdown's # to ######, and lines underlined with = (1) or - (2)
    10 to 13  Part, 第一编, 第一部分 · Chapter, Annex, 第三章, 附录A · Section, 第二节 · Article, 第十二条
    14, 15    一、 · （一）
    21, 22 …  "4 Scope", "4.2 Terms", "A.1 General": 20 and the number of parts

A numbered line is a heading if it is short, does not end like a sentence and prescribes nothing (shall,
应当). Else it is a *clause*, a numbered paragraph: it opens a place of its own in the document, named by its
number, and is content. An article with text beside its number is a clause in any case.
"4. Scope" and 一、总则 are headings only where no list of such marks goes on before or after them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from raysft.algorithms.words import word_count

MAX_HEADING_WORDS = 12
MAX_HEADING_CHARACTERS = 100
ENDS_LIKE_TEXT = (".", "。", ";", "；", ",", "，", ":", "：", "、", "!", "！", "?", "？")

# Words of what is prescribed: they stand in clauses, which may be short or, in a PDF, end in the next line.
_PRESCRIBES = re.compile(r"\b(?:shall|should|must)\b|应当|不应|不得|不宜|必须|严禁|应符合|应满足")

_HAN_NUMBER = "[〇零一二三四五六七八九十百]+"
_ATX = re.compile(r"(#{1,6})(?:\s+(.*?))?(?:\s+#+)?\s*$")
_CHAPTERS = (
    (10, re.compile(rf"P(?:art|ART)\s+(?:\d+|[IVXLC]+)\b|第\s*(?:\d+|{_HAN_NUMBER})\s*(?:编|篇|部分)")),
    (11, re.compile(rf"C(?:hapter|HAPTER)\s+(?:\d+|[IVXLC]+)\b|第\s*(?:\d+|{_HAN_NUMBER})\s*章")),
    (11, re.compile(r"A(?:nnex|NNEX|ppendix|PPENDIX)\s+[A-Z0-9]\b|附\s*录\s*[A-Z0-9一二三四五六七八九十]")),
    (12, re.compile(rf"S(?:ection|ECTION)\s+\d+\b|第\s*(?:\d+|{_HAN_NUMBER})\s*节")),
)
# A blank or nothing follows, so that a sentence that begins with a reference to an article is none.
_ARTICLE = re.compile(rf"(?:A(?:rticle|RTICLE)\s+\d+|第\s*(?:\d+|{_HAN_NUMBER})\s*条)(?=[\s\u3000:：.]|$)")
_LEADERS = re.compile(r"\.{4,}|…{2,}|·{4,}|(?:\. ){4,}")  # of a table of contents
# A number with points: no part begins with 0, and a capital, a Chinese character or an opening mark follows,
# so that "0.80 m" and "1.2 m wide" at the start of a wrapped line are none. Without a blank: three parts.
_OPENS = r"(?=[A-Z“\"(（《【\u3400-\u4dbf\u4e00-\u9fff])"
_NUMBERED = re.compile(
    rf"(?:(?P<one>[1-9]\d?)|(?P<two>(?:[A-Z]|[1-9]\d?)\.[1-9]\d?)\.?)[ \t\u3000]+{_OPENS}"
    rf"|(?P<more>(?:[A-Z]|[1-9]\d?)(?:\.[1-9]\d?){{2,5}})\.?[ \t\u3000]*{_OPENS}"
)
_LISTED = (
    (14, re.compile(rf"{_HAN_NUMBER}、")),
    (15, re.compile(rf"[（(]{_HAN_NUMBER}[)）]")),
    (21, re.compile(r"[1-9]\d?[.．][ \t\u3000]+(?=\S)")),
)


@dataclass(frozen=True)
class Heading:
    """What a line says of the document's order. `title` names the place that it opens; `is_clause` tells
    that the line is content too; `may_be_item` that it could as well be an item of a list."""

    rank: int
    title: str
    is_clause: bool = False
    may_be_item: bool = False


def heading_of(line: str, markdown: bool) -> Heading | None:
    """What heading or clause a line is, or None; # counts in Markdown only."""
    text = line.strip()
    if line.startswith(("    ", "\t")) or not text:
        return None
    found = _ATX.match(text) if markdown else None
    if found:
        title = (found[2] or "").strip()
        return Heading(len(found[1]), title) if title else None
    if _LEADERS.search(text):
        return None
    rank = next((rank for rank, pattern in _CHAPTERS if pattern.match(text)), None)
    if rank is not None:
        return Heading(rank, text) if _is_short(text) else None
    found = _ARTICLE.match(text)
    if found:
        return replace(_numbered(13, text, found[0]), is_clause=text != found[0])
    found = _NUMBERED.match(text)
    if found:
        number = found["one"] or found["two"] or found["more"]
        made = _numbered(21 + number.count("."), text, number)
        return None if found["one"] and made.is_clause else made
    style = item_style(text)
    return Heading(style, text, may_be_item=True) if style is not None and _is_short(text) else None


def item_style(line: str) -> int | None:
    """The rank that a line's mark has as a heading where it could as well be an item of a list, or None."""
    return next((rank for rank, pattern in _LISTED if pattern.match(line.strip())), None)


def title_of(text: str) -> Heading | None:
    """The title of a plain text, whose first paragraph this is, or None."""
    return Heading(0, text.strip()) if "\n" not in text and _is_short(text.strip()) else None


def underlined(line: str, below: str) -> Heading | None:
    """The heading that a line and the line of = or - below it are, or None."""
    mark = below.strip()
    if len(mark) < 3 or set(mark) not in ({"="}, {"-"}) or not _is_short(line.strip()):
        return None
    return Heading(1 if mark[0] == "=" else 2, line.strip())


def _numbered(rank: int, text: str, number: str) -> Heading:
    if _is_short(text):
        return Heading(rank, text)
    return Heading(rank, " ".join(number.split()), is_clause=True)


def _is_short(text: str) -> bool:
    return (
        0 < len(text) <= MAX_HEADING_CHARACTERS
        and not text.endswith(ENDS_LIKE_TEXT)
        and word_count(text) <= MAX_HEADING_WORDS
        and _PRESCRIBES.search(text) is None
    )
