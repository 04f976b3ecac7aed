"""Which of many terms stand in a text: one walk over the text, however many terms there are.

A term is found whatever its case, across line breaks, and with full-width letters. Where it begins or ends
with a letter or digit that is not CJK, the text must not go on with one there: "valve" is not in "valves",
and "12" not in "112". CJK terms stand anywhere: 灭火器 holds 灭火. Terms may overlap and stand in each other.

The index is a tree of characters (a trie). At each character that a term could begin with, the walk goes as
deep as the text and the tree agree; so a text of n characters costs n steps and the depths reached.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from raysft.algorithms.words import CJK_CHARACTER

K = TypeVar("K", bound=Hashable)
_CJK = CJK_CHARACTER.pattern
_SPACE_BETWEEN_CJK = re.compile(rf"(?<={_CJK})\s+(?={_CJK})")
_END = ""  # the key under which a node has the places of the terms that end there


def normalised(text: str) -> str:
    """NFKC, case folded, white space as one blank, and none between CJK characters."""
    text = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return _SPACE_BETWEEN_CJK.sub("", text)


class TermIndex(Generic[K]):
    """Terms by name, each with the spellings that count as it; spellings without any character are none."""

    def __init__(self, spellings: Mapping[K, Sequence[str]]) -> None:
        self.names = tuple(spellings)
        self._root: dict[str, Any] = {}
        for place, own in enumerate(spellings.values()):
            for spelling in own:
                self._add(normalised(spelling), place)

    def _add(self, spelling: str, place: int) -> None:
        if not spelling:
            return
        node = self._root
        for character in spelling:
            node = node.setdefault(character, {})
        node.setdefault(_END, []).append(place)

    def found(self, text: str) -> list[K]:
        """Names of the terms that stand in the text, in the order they were given in."""
        text = normalised(text)
        places: set[int] = set()
        for start, character in enumerate(text):
            node = self._root.get(character)
            if node is None or (start and _is_joined(text[start - 1], character)):
                continue
            self._walk(text, start, node, places)
        return [self.names[place] for place in sorted(places)]

    def _walk(self, text: str, start: int, node: Mapping[str, Any], places: set[int]) -> None:
        at = start + 1
        while True:
            ends = node.get(_END)
            if ends is not None and not (at < len(text) and _is_joined(text[at - 1], text[at])):
                places.update(ends)
            following = node.get(text[at]) if at < len(text) else None
            if following is None:
                return
            node, at = following, at + 1


def _is_joined(left: str, right: str) -> bool:
    """Whether two neighbouring characters belong to one alphabetic word or number."""
    return (
        left.isalnum()
        and right.isalnum()
        and CJK_CHARACTER.match(left) is None
        and CJK_CHARACTER.match(right) is None
    )
