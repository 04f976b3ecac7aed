import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from raysft.algorithms.groups import bounds


@given(st.lists(st.integers(0, 4)).map(sorted))
def test_bounds_of_sorted_keys_cut_whole_groups(keys: list[int]) -> None:
    found = bounds(np.array(keys, np.uint64)).tolist()
    groups = [keys[a:b] for a, b in itertools.pairwise(found)]
    assert groups == [list(g) for _, g in itertools.groupby(keys)]
    assert found[0] == 0
    assert found[-1] == len(keys)
