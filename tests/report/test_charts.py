import math
import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysft.report.charts import Mark, bin_counts, curve, histogram, log_edges, round_ticks, thin

COORDINATES = re.compile(r"-?\d+\.?\d*")


def test_round_ticks_are_round_and_inside() -> None:
    assert round_ticks(0, 10) == [0, 2, 4, 6, 8, 10]
    assert round_ticks(1.3, 2.7) == pytest.approx([1.5, 2.0, 2.5])


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_round_ticks_of_any_range_are_few_and_inside(low: float, span: float) -> None:
    ticks = round_ticks(low, low + span)
    assert 1 <= len(ticks) <= 7
    assert all(low - 1e-6 * span <= t <= low + span * (1 + 1e-6) or abs(t) < 1e-9 for t in ticks)


def test_log_bins_from_one_up_all_hold_a_whole_number() -> None:
    edges = log_edges(100_000)
    assert edges[-1] > 100_000
    assert all(math.ceil(a - 1e-9) < b - 1e-9 for a, b in pairwise(edges))


@given(st.lists(st.integers(0, 10**6), min_size=1))
def test_bin_counts_lose_no_value_and_agree_with_the_edges(values: list[int]) -> None:
    edges = log_edges(max(*values, 9))
    counts = bin_counts(values, edges)
    assert sum(counts) == len(values)
    slow = [sum(low <= max(v, 1) + 1e-9 < high for v in values) for low, high in pairwise(edges)]
    assert counts == slow


def test_thin_curve_keeps_the_mean_and_the_order() -> None:
    points = [(float(i), float(i % 7)) for i in range(5000)]
    few = thin(points, 400)
    assert len(few) == 400
    assert few == sorted(few)
    assert sum(y for _, y in few) / 400 == pytest.approx(sum(y for _, y in points) / 5000, abs=0.01)
    assert thin(points[:10], 400) == points[:10]


@given(
    st.lists(
        st.floats(allow_nan=True, allow_infinity=True, min_value=None, width=32), min_size=1, max_size=30
    )
)
def test_curve_of_any_numbers_is_valid_and_inside_its_frame(losses: list[float]) -> None:
    svg = curve([(float(i), v) for i, v in enumerate(losses)], "t", "x", "y", marks=[Mark(0, 1.5, "before")])
    line = ElementTree.fromstring(svg).find("polyline")
    assert line is not None
    pixels = [float(n) for n in COORDINATES.findall(line.attrib["points"])]
    assert len(pixels) == 2 * sum(map(math.isfinite, losses))
    assert all(0 <= x <= 460 for x in pixels[::2])
    assert all(0 <= y <= 250 for y in pixels[1::2])


def test_curve_without_a_finite_point_is_empty() -> None:
    assert curve([(1.0, math.nan)], "t", "x", "y") == ""


def test_curve_of_falling_losses_falls_on_the_screen() -> None:
    line = ElementTree.fromstring(curve([(0, 3.0), (1, 2.0)], "t", "x", "y")).find("polyline")
    assert line is not None
    x0, y0, x1, y1 = map(float, COORDINATES.findall(line.attrib["points"]))
    assert x1 > x0
    assert y1 > y0


def test_histogram_draws_a_bar_for_each_bin_that_has_rows() -> None:
    svg = ElementTree.fromstring(histogram([1, 1, 1, 50, 0], 1000, "t", "characters", "rows"))
    assert [bar.findtext("title") for bar in svg.iter("rect")] == ["1: 4", "47–68: 1"]


def test_chart_labels_are_escaped() -> None:
    svg = histogram([1, 2], 9, '"><script>', "<b>", "&")
    assert "<script>" not in svg
    assert "<b>" not in svg
    ElementTree.fromstring(svg)
