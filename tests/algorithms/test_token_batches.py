from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from raysft.algorithms.token_batches import token_batches


@settings(deadline=None)
@given(st.lists(st.integers(0, 200)), st.integers(1, 500))
def test_token_batches_hold_every_index_once_within_the_budget(lengths: list[int], budget: int) -> None:
    batches = token_batches(lengths, budget)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= budget


def test_token_batches_put_like_lengths_together_longest_first() -> None:
    assert token_batches([5, 1, 5, 1, 9], 10) == [[4], [0, 2], [1, 3]]
