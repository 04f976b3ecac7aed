import pytest
from pydantic import ValidationError

from raysft.augment.growth import Growth, rounds_of, table_of


def prompts(config: Growth, kept: list[int]) -> list[int]:
    return [r.prompts for r in rounds_of(config, kept)]


def test_rounds_before_anything_was_made_ask_for_their_share_of_the_target():
    assert prompts(Growth(target=100, rounds=3), []) == [5]  # 100 / 3 rounds / 7 tasks, rounded up
    assert prompts(Growth(target=28, rounds=2), []) == [2]
    assert prompts(Growth(target=1, rounds=12), []) == [1]


def test_rounds_after_a_poor_yield_ask_for_more_to_meet_the_target():
    config = Growth(target=700, rounds=2, tasks_per_prompt=7)
    first, second = rounds_of(config, [140])
    assert (first.prompts, first.asked, first.kept) == (50, 350, 140)
    # 560 missing at a yield of 141 / 351: 1,395 tasks.
    assert (second.prompts, second.asked, second.kept) == (200, 1400, None)
    assert second.note == "560 missing, rounds left: 1, yield of round 1: 40.2%"


def test_rounds_that_keep_their_share_reach_the_target_and_ask_no_more():
    config = Growth(target=100, rounds=4)
    found = rounds_of(config, [20, 40, 41])
    assert [r.prompts > 0 for r in found] == [True, True, True, False]
    assert found[-1].note == "the target is reached"


def test_rounds_after_one_below_the_least_yield_ask_no_more_ever():
    config = Growth(target=1000, rounds=4, min_yield=0.02)
    found = rounds_of(config, [4, 0, 0])
    assert [r.prompts for r in found] == [36, 0, 0, 0]
    assert found[1].note == found[3].note == "exhausted: round 1 kept 4 of 252, less than 2.0%"
    assert prompts(config, [6])[-1] > 0  # 6 of 252 is more than 2 %


def test_rounds_after_a_small_one_without_luck_go_on():
    """Of 7 tasks a yield of 2 % would keep none either."""
    assert prompts(Growth(target=14, rounds=3), [0]) == [1, 8]
    assert prompts(Growth(target=14, rounds=3, min_yield=0.2), [0]) == [1, 0]


def test_rounds_with_their_own_number_of_prompts_keep_it_until_the_target():
    config = Growth(target=100, rounds=4, prompts_per_round=3)
    assert prompts(config, [21, 20]) == [3, 3, 3]
    assert prompts(config, [21, 21, 58]) == [3, 3, 3, 0]


def test_rounds_ask_for_the_same_whatever_came_later():
    config = Growth(target=500, rounds=4)
    kept = [60, 70, 80]
    assert [rounds_of(config, kept[:i])[:i] for i in range(4)] == [
        rounds_of(config, kept)[:i] for i in range(4)
    ]


def test_table_of_rounds_adds_up_what_was_kept():
    config = Growth(target=28, rounds=2)
    found = table_of(config, rounds_of(config, [10]))
    assert found["columns"][:6] == ["round", "prompts", "tasks asked for", "kept", "kept so far", "target"]
    assert [row[:6] for row in found["rows"]] == [[1, 2, 14, 10, 10, 28], [2, 4, 28, None, 10, 28]]


@pytest.mark.parametrize("fields", [{"min_yield": 0}, {"min_yield": 1}, {"rounds": 13}, {"target": 0}])
def test_growth_out_of_its_bounds_is_refused(fields):
    with pytest.raises(ValidationError, match=next(iter(fields))):
        Growth(**({"target": 5} | fields))
