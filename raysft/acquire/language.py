"""A cheap guess at a text's language: Chinese, or written in Latin letters, or unknown.

It serves to pick character or word rules early on; `lang` can be given in the recipe or the row instead.
"""

from __future__ import annotations

import re

MAX_CHARACTERS = 4_000
MIN_HAN_SHARE = 0.2
# Text with this much kana or hangul is Japanese or Korean, however many Han characters stand beside it.
MAX_KANA_HANGUL_SHARE = 0.1
_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f]")
_KANA_HANGUL = re.compile(r"[\u3040-\u30ff\u1100-\u11ff\uac00-\ud7af]")
_ASCII_LETTER = re.compile(r"[A-Za-z]")


def guess_language(text: str) -> str | None:
    """ "zh" when at least a fifth of the letters are Han characters, else "en" when more than half of them
    are ASCII letters, else None. Looks at the first 4,000 characters."""
    text = text[:MAX_CHARACTERS]
    ascii_letters = len(_ASCII_LETTER.findall(text))
    if text.isascii():
        return "en" if ascii_letters else None
    letters = sum(map(str.isalpha, text))
    if not letters:
        return None
    if len(_KANA_HANGUL.findall(text)) > MAX_KANA_HANGUL_SHARE * letters:
        return None
    if len(_HAN.findall(text)) >= MIN_HAN_SHARE * letters:
        return "zh"
    return "en" if ascii_letters > letters / 2 else None
