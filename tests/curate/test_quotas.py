import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysft.curate.quotas import drawn_by_group, group_of, in_rows


def test_group_of_values_is_their_place_in_order_and_last_for_all_others() -> None:
    table = pa.table(
        {"lang": ["zh", "en", None, "fr"], "round": [1, 2, None, 1], "good": [True, False, None, True]}
    )
    assert group_of(table, "lang", {"zh": 3, "en": 0.5}).to_pylist() == [1, 0, 2, 2]
    assert group_of(table, "round", {"1": 3}).to_pylist() == [0, 1, 1, 0]
    assert group_of(table, "good", {"true": 3, "false": 1}).to_pylist() == [1, 0, 2, 1]
    assert group_of(table, None, {}).to_pylist() == [0, 0, 0, 0]
    assert group_of(table.slice(0, 0), "lang", {"zh": 3}).to_pylist() == []


def test_group_of_lists_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"quota_column: tags is list<.*; quotas are by texts, numbers or booleans"
    ):
        group_of(pa.table({"tags": [["a"]]}), "tags", {"a": 1})


def test_quotas_in_rows_are_whole_numbers_or_fractions_of_the_budget_in_the_order_of_values() -> None:
    assert in_rows({"zh": 0.25, "en": 3, "fr": 1.0}, 50, 40).tolist() == [3, 50, 12, 40]
    assert in_rows({}, 50, 40).tolist() == [40]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 30)] * 3), min_size=1, max_size=5), st.integers(0, 200))
def test_drawn_by_group_keeps_to_quotas_rows_and_budget(groups, budget) -> None:
    placed, unplaced, quotas = (np.array(column) for column in zip(*groups, strict=True))
    total = int((placed + unplaced).sum())
    budget = min(budget, total)
    quotas[-1] = budget
    draws = drawn_by_group(placed, unplaced, quotas, budget)
    assert (draws >= 0).all()
    assert (draws <= np.minimum(unplaced, quotas)).all()
    assert draws.sum() <= budget
    if len(groups) == 1 and total:
        assert draws[0] == int(budget * unplaced[0] / total + 0.5)
    if not placed.any():
        assert draws.sum() >= min(budget, np.minimum(unplaced, quotas).sum()) - len(groups)
