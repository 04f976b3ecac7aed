"""Document files → their text: .txt and .md as they are, .pdf by pypdf.

Text is UTF-8, and may be compressed (.gz, .zst). Of a PDF, the first and last line of a page are left out
where the same line, numbers aside, stands there on three pages and on a tenth of all: running heads, which
may change by chapter, and page numbers. Lines that end inside a sentence are put together again, since a
PDF knows no paragraphs. What has no text raises `Unreadable` with one of the reasons

    empty_file   there is nothing in it
    bad_utf8     it is not UTF-8; also the reasons of `raysft.acquire.streams.Damaged`
    encrypted    a PDF that asks for a password
    broken_pdf   a PDF that cannot be read
    no_text      a PDF without text, such as a scan, or a file of white space
"""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pypdf
from pypdf.errors import FileNotDecryptedError, WrongPasswordError

from raysft.acquire.blocks import starts_block
from raysft.acquire.formats import Unreadable
from raysft.acquire.readers import kind_of
from raysft.acquire.streams import Damaged, blocks
from raysft.algorithms.words import CJK_CHARACTER

KINDS = ("txt", "md", "pdf")
RUNNING_PAGES, RUNNING_SHARE = 3, 0.1
_BOM = "\ufeff"
_SENTENCE_END = re.compile(r"[。！？；：.!?;:][”’」』）)\"']?$")
_DIGITS = re.compile(r"\d+")


@dataclass(frozen=True)
class Document:
    """The text of a file, and what else became of parts of it, by name."""

    text: str
    told: Mapping[str, int] = field(default_factory=dict)


def read_document(uri: str) -> Document:
    """The text of a document file.

    Raises:
        Unreadable: the file has no text that can be read; says why.
        OSError: the file cannot be opened or fetched.
    """
    try:
        data = b"".join(blocks(uri))
    except Damaged as damage:
        raise Unreadable(f"{damage.reason}; the whole file is left out") from damage
    if not data:
        raise Unreadable("empty_file: there is nothing in it")
    if kind_of(uri, KINDS) == "pdf":
        return _pdf(data)
    try:
        text = data.decode("utf-8").removeprefix(_BOM)
    except UnicodeDecodeError as error:
        raise Unreadable(f"bad_utf8: {error.reason} at byte {error.start}; save it as UTF-8") from error
    if not text.strip():
        raise Unreadable("no_text: there is only white space in it")
    return Document(text)


def _pdf(data: bytes) -> Document:
    pages = _page_texts(data)
    blank = sum(not page.strip() for page in pages)
    if blank == len(pages):
        raise Unreadable(f"no_text: {blank} pages without text; a scan needs character recognition first")
    lines = [[line.rstrip() for line in page.splitlines() if line.strip()] for page in pages]
    kept, left_out = without_running_lines(lines)
    told = {"pages": len(pages), "pages without text": blank, "running lines left out": left_out}
    return Document(unwrapped([line for page in kept for line in page]), {k: n for k, n in told.items() if n})


def _page_texts(data: bytes) -> list[str]:
    """The text of each page of a PDF."""
    try:
        return [page.extract_text() for page in pypdf.PdfReader(io.BytesIO(data)).pages]
    except (FileNotDecryptedError, WrongPasswordError) as error:
        raise Unreadable("encrypted: it asks for a password; save it without one") from error
    except Exception as error:  # pypdf meets a broken file with errors of any type; it has no other input
        raise Unreadable(f"broken_pdf: {type(error).__name__}: {error}") from error


def without_running_lines(pages: Sequence[Sequence[str]]) -> tuple[list[list[str]], int]:
    """Pages, each a list of its lines, without running heads and page numbers; and how many lines went."""
    full = [page for page in pages if page]
    least = max(RUNNING_PAGES, RUNNING_SHARE * len(full))
    often = [
        {shape for shape, n in Counter(_shape(page[at]) for page in full).items() if n >= least}
        for at in (0, -1)
    ]
    kept = []
    for page in pages:
        start = bool(page) and _shape(page[0]) in often[0]
        stop = len(page) - (len(page) > start and _shape(page[-1]) in often[1])
        kept.append(list(page[start:stop]))
    return kept, sum(map(len, pages)) - sum(map(len, kept))


def _shape(line: str) -> str:
    return _DIGITS.sub("0", " ".join(line.split()))


def unwrapped(lines: Sequence[str]) -> str:
    """One text of the lines of a PDF: a line that does not end a sentence goes on in the next one, unless
    that one begins a block of its own, such as a heading or list item, or this one is a heading."""
    text: list[str] = []
    is_closed = True
    for line in lines:
        begins = starts_block(line, markdown=False)
        if is_closed or begins:
            text.append(line.strip())
        else:
            joint = "" if CJK_CHARACTER.match(text[-1][-1]) and CJK_CHARACTER.match(line.strip()[0]) else " "
            text[-1] += joint + line.strip()
        is_closed = begins == "heading" or _SENTENCE_END.search(line) is not None
    return "\n".join(text)
