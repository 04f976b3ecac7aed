"""A document → chunks: pieces of like size that keep to its sections, each under the headings it stands
below.

Blocks (raysft/acquire/blocks.py) are packed in order. A chunk ends before a heading or clause once it has the
least words, and before a block that would give it more than the most. A table, list item or block of code
is cut only where it alone is above the most: a table and code between lines, all else between sentences,
then between words. A heading, or a paragraph that ends in a colon, stays with what follows it. At the end
neighbours are joined as long as one of them is below the least and both together are not above the most.

The bodies of all chunks, one after the other, are the document's text up to white space. Words are those of
`raysft.algorithms.words`: two Chinese characters count as one. The bounds are of the body; the line of
headings above it, and the head of a table that was cut, come on top.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from raysft.acquire.blocks import Block, blocks
from raysft.algorithms.words import CJK_CHARACTER, word_count

PATH_SEPARATOR = " > "
_SENTENCE_END = re.compile(r"(?<=[。！？；])|(?<=[.!?;])(?=\s)|(?<=\n)")
_LINE_END = re.compile(r"(?<=\n)")
_CJK = CJK_CHARACTER.pattern
_WORD = re.compile(rf"{_CJK}{{1,2}}\s*|(?:(?!{_CJK})\S)+\s*|\s+")
_COLONS = (":", "：")


@dataclass(frozen=True)
class Chunk:
    """`path` holds the titles of the headings that stand above the body and not in it, `head` the head of
    the table that the body goes on with."""

    path: tuple[str, ...]
    body: str
    head: str = ""

    @property
    def text(self) -> str:
        """The headings in one line, if there are any, then the body."""
        body = f"{self.head}\n{self.body}" if self.head else self.body
        return f"{PATH_SEPARATOR.join(self.path)}\n\n{body}" if self.path else body


@dataclass(frozen=True)
class Part:
    """What packing moves as one: a block or a piece of one, with the headings right before it."""

    path: tuple[str, ...]
    text: str
    words: int
    opens: bool
    head: str = ""
    joint: str = "\n\n"


def chunks(text: str, least: int, most: int, markdown: bool = False) -> list[Chunk]:
    """The chunks of a document in order; none of a text without any character but white space."""
    packed = _joined(_packed(list(_parts(blocks(text, markdown), most)), least, most), least, most)
    return [Chunk(parts[0].path, _body(parts), parts[0].head) for parts in packed]


def _body(parts: Sequence[Part]) -> str:
    first, *rest = parts
    return first.text + "".join(part.joint + part.text for part in rest)


def _packed(parts: Sequence[Part], least: int, most: int) -> list[list[Part]]:
    packed: list[list[Part]] = []
    words = 0
    for part in parts:
        if packed and words + part.words <= most and not (part.opens and words >= least):
            packed[-1].append(part)
            words += part.words
        else:
            packed.append([part])
            words = part.words
    return packed


def _joined(packed: Sequence[list[Part]], least: int, most: int) -> list[list[Part]]:
    joined: list[list[Part]] = []
    words = 0
    for parts in packed:
        here = word_count(_body(parts))
        if joined and min(words, here) < least and words + here <= most:
            joined[-1] += parts
            words = word_count(_body(joined[-1]))
        else:
            joined.append(parts)
            words = here
    return joined


def _words(parts: Sequence[Part]) -> int:
    return sum(part.words for part in parts)


def _parts(found: Sequence[Block], most: int) -> Iterator[Part]:
    """The parts of a document; headings that wait for what follows take up half of a chunk at most."""
    open_ranks: list[tuple[int, str]] = []
    waiting: list[Part] = []
    for block in found:
        above = open_ranks = [o for o in open_ranks if block.rank is None or o[0] < block.rank]
        if block.rank is not None:
            open_ranks = [*above, (block.rank, block.title)]
        path = tuple(title for _, title in above)
        words = word_count(block.text)
        leads = block.kind not in ("table", "code") and block.text.endswith(_COLONS)
        waits = block.kind == "heading" or leads
        if waits and _words(waiting) + words <= most // 2:
            waiting.append(Part(path, block.text, words, block.rank is not None, joint=_joint(block)))
            continue
        pieces = _pieces(block, path, most, _words(waiting))
        if waiting and _words(waiting) + pieces[0].words <= most:
            pieces[0] = _merged([*waiting, pieces[0]])
        elif waiting:
            yield _merged(waiting)
        waiting = []
        yield from pieces
    if waiting:
        yield _merged(waiting)


def _merged(parts: Sequence[Part]) -> Part:
    return replace(parts[0], text=_body(parts), words=_words(parts))


def _pieces(block: Block, path: tuple[str, ...], most: int, taken: int) -> list[Part]:
    """A block as parts of at most `most` words, the first with room for `taken` more where it is cut."""
    words = word_count(block.text)
    opens = block.rank is not None
    joint = _joint(block)
    is_whole = block.kind in ("table", "list_item", "code")
    if words <= (most if is_whole else most - taken):
        return [Part(path, block.text, words, opens, joint=joint)]
    inside = (*path, block.title) if opens else path
    by_line = block.kind in ("table", "code")
    head = _table_head(block.text) if block.kind == "table" else ""
    cut = _cut(block.text, most, most - taken, _LINE_END if by_line else _SENTENCE_END)
    return [
        Part(
            inside if i else path,
            text.strip("\n") if by_line else text.strip(),
            word_count(text),
            opens and not i,
            head if i else "",
            "\n" if i else joint,
        )
        for i, text in enumerate(cut)
    ]


def _joint(block: Block) -> str:
    """What stands between a block and the one before it."""
    return "\n" if block.kind == "list_item" else "\n\n"


def _table_head(text: str) -> str:
    """The first two lines of a table if the second one is of dashes."""
    lines = text.split("\n", 2)
    return "\n".join(lines[:2]) if len(lines) > 2 and set(lines[1]) <= set("|:- \t") else ""


def _cut(text: str, most: int, first: int, ends: re.Pattern[str]) -> list[str]:
    """A text in pieces of at most `most` words, the first of at most `first`, cut where `ends` matches, and
    between words where that is not enough."""
    pieces: list[str] = []
    words, room = 0, first
    for unit in _units(text, most, min(first, most), ends):
        more = word_count(unit)
        if pieces and words + more <= room:
            pieces[-1] += unit
            words += more
        else:
            room = most if pieces else first
            pieces.append(unit)
            words = more
    return [piece for piece in pieces if piece.strip()]


def _units(text: str, most: int, first: int, ends: re.Pattern[str]) -> Iterator[str]:
    """What a text is cut into at the finest: sentences or lines, and words of those that are too long."""
    for i, unit in enumerate(u for u in ends.split(text) if u):
        if word_count(unit) <= (most if i else first):
            yield unit
        else:
            yield from _WORD.findall(unit)
