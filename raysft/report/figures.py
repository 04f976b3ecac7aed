"""Numbers, written to be read."""

from __future__ import annotations

import math
from collections.abc import Mapping

NOTHING = "–"
LANGUAGES = {
    "en": "English",
    "zh": "Chinese",
    "de": "German",
    "es": "Spanish",
    "fr": "French",
    "ja": "Japanese",
    "ko": "Korean",
    "ru": "Russian",
}


def number(value: float | None, digits: int = 0) -> str:
    """12345 → "12,345"; a dash for None, "not finite" for NaN and infinities."""
    if value is None:
        return NOTHING
    if not math.isfinite(value):
        return "not finite"
    return f"{value:,.{digits}f}"


def compact(value: float) -> str:
    """A tick's label: 1500 → "1.5k", 2000000 → "2M", 0.25 → "0.25"."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def percent(share: float | None) -> str:
    """0.1234 → "12 %"; one decimal below ten per cent."""
    if share is None or not math.isfinite(share):
        return NOTHING
    return f"{share * 100:.1f} %" if 0 < share < 0.1 else f"{share * 100:.0f} %"


def share(tally: Mapping[str, int] | None) -> float | None:
    """{"right": 3, "asked": 12} → 0.25; None for no tally and for one of nothing."""
    return tally["right"] / tally["asked"] if tally and tally["asked"] else None


def points(tally: Mapping[str, int] | None) -> str:
    """A tally's share in per cent with one decimal, for comparing two of them: "3.1 %"."""
    found = share(tally)
    return NOTHING if found is None else f"{found * 100:.1f} %"


def duration(seconds: float | None) -> str:
    """Seconds as "0.4 s", "12.3 s", "3 min 20 s" or "2 h 05 min"."""
    if seconds is None or not math.isfinite(seconds):
        return NOTHING
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def language(code: str | None) -> str:
    """The English name of an ISO 639-1 code, the code itself when it is not one we know."""
    return LANGUAGES.get(code or "", code or "no language")
