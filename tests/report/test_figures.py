import math

import pytest

from raysft.report.figures import NOTHING, compact, duration, language, number, percent, points, share


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 00 s"),
        (200, "3 min 20 s"),
        (3599.6, "1 h 00 min"),
        (7500, "2 h 05 min"),
        (None, "–"),
        (math.nan, "–"),
    ],
)
def test_duration_at_each_scale_reads_naturally(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_number_with_nothing_to_show_says_so() -> None:
    assert number(None) == "–"
    assert number(math.inf) == "not finite"
    assert number(1234567) == "1,234,567"
    assert number(2.6134, 3) == "2.613"


def test_compact_number_takes_a_letter_above_a_thousand() -> None:
    assert [compact(v) for v in (0, 0.25, 999, 1500, 2e6)] == ["0", "0.25", "999", "1.5k", "2M"]


def test_percent_below_ten_keeps_a_decimal() -> None:
    assert [percent(v) for v in (0.0, 0.043, 0.12, 1.0)] == ["0 %", "4.3 %", "12 %", "100 %"]


def test_language_without_a_name_is_its_code() -> None:
    assert [language(c) for c in ("zh", "xx", "", None)] == ["Chinese", "xx", "no language", "no language"]


def test_share_and_points_of_nothing_asked_are_no_numbers() -> None:
    assert share({"right": 3, "asked": 12}) == 0.25
    assert share({"right": 0, "asked": 0}) is share(None) is None
    assert points({"right": 1, "asked": 32}) == "3.1 %"
    assert points({"right": 3, "asked": 3}) == "100.0 %"
    assert points(None) == NOTHING
