"""Text that a model or a source wrote, made fit to be shown: every character visible, nothing endless.

Escaping for HTML is the template's; this is about what escaping leaves: characters that cannot be
encoded (lone surrogates), that steer a terminal (C0, C1) or that reorder the text around them
(Unicode's bidirectional controls, UAX #9).
"""

from __future__ import annotations

import re

from raysft.report.figures import number

# C0 without tab and newline, DEL, C1, the bidirectional controls, lone surrogates and non-characters.
INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"
)


def visible(text: object) -> str:
    """The text with each character that cannot be seen or encoded replaced by its code, as ⟨U+202E⟩."""
    unix = str(text).replace("\r\n", "\n")
    return INVISIBLE.sub(lambda found: f"⟨U+{ord(found.group()):04X}⟩", unix)


def cut(text: object, limit: int) -> tuple[str, int]:
    """The first `limit` characters, made visible, and how many characters were left off."""
    whole = str(text)
    return visible(whole[:limit]), max(0, len(whole) - limit)


def one_line(text: object, limit: int = 200) -> str:
    """The text on one line, cut with a note of how much is missing."""
    shown, missing = cut(re.sub(r"\s+", " ", str(text)).strip(), limit)
    return f"{shown} … ({missing:,} more characters)" if missing else shown


def in_markdown(text: object, limit: int = 200) -> str:
    """The text on one line, with what Markdown or HTML would act on escaped."""
    return escaped(one_line(text, limit))


def escaped(text: str) -> str:
    """The text with a backslash before each sign that Markdown or HTML would act on."""
    return re.sub(r"([\\`*\[\]<>|#~!])", r"\\\1", text)


def value(found: object) -> str:
    """A count with separators, a measurement with three decimals, anything else as a short text."""
    if isinstance(found, float):
        return number(found, 0 if abs(found) >= 1000 else 3)
    if found is None or (isinstance(found, int) and not isinstance(found, bool)):
        return number(found)
    return one_line(found, 60)
