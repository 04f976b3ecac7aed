"""Whether what is wanted finds a place: by CPUs, GPUs, labels, and with nodes that may come."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysft.runtime.capacity import ONE_CPU, Capacity, Nodes, Want, as_labels, fit, placed, sizes

GENERATION, SCORING = {"raysft-pool": "generation"}, {"raysft-pool": "scoring"}


def cluster(*nodes: Nodes, may_come: tuple[Nodes, ...] = (), most_new: int = 99) -> Capacity:
    return Capacity(nodes, "the cluster", may_come, most_new)


@pytest.mark.parametrize(
    ("want", "count"),
    [
        (Want("llm", 1, 0.3, 99), 6),  # three shares of each GPU, and not a seventh of what is left of both
        (Want("llm", 1, 0.5, 99), 4),
        (Want("llm", 1, 1, 99), 2),
        (Want("llm", 1, 2, 99), 1),
        (Want("llm", 3, 0, 99), 2),
        (Want("llm", 1, 3, 99), 0),
        (Want("llm", 0.1, 0, 99), 80),
    ],
)
def test_placed_replicas_of_one_node_are_as_many_as_its_cpus_and_gpus_hold(want: Want, count: int) -> None:
    assert placed([want], cluster(Nodes(8, 2)))["llm"] == count


def test_placed_replica_goes_only_where_its_labels_are() -> None:
    has = cluster(Nodes(8, 4), Nodes(8, 1, GENERATION), Nodes(8, 4, SCORING))
    assert placed([Want("llm", 1, 1, 9, GENERATION)], has)["llm"] == 1
    assert placed([Want("llm", 1, 1, 9)], has)["llm"] == 9


def test_fit_counts_nodes_that_may_come_up_to_their_number_and_that_of_all() -> None:
    types = (Nodes(4, 1, GENERATION, count=3), Nodes(8, 0, SCORING, count=9))
    two = Want("llm", 1, 1, 2, GENERATION)
    assert fit([two, ONE_CPU], cluster(may_come=types))
    assert not fit([two], cluster(may_come=types, most_new=1))
    assert placed([Want("llm", 1, 1, 9, GENERATION)], cluster(may_come=types))["llm"] == 3
    assert not fit([ONE_CPU], cluster(Nodes(0, 0)))


def test_fit_of_engines_that_could_take_each_others_nodes_is_refused_unless_kindly() -> None:
    has = cluster(Nodes(8, 1), Nodes(8, 1, SCORING))
    anywhere, scorer = Want("llm", 1, 1), Want("scorer", 1, 1, 1, SCORING)
    assert not fit([anywhere, scorer], has)  # Ray may put the first on the only node for the second
    assert fit([anywhere, scorer], has, kindly=True)
    assert fit([Want("llm", 1, 1, 1, GENERATION), scorer], cluster(Nodes(8, 1, GENERATION), *has.nodes[1:]))


def test_fit_of_a_whole_node_beside_small_actors_that_spread_is_refused_unless_kindly() -> None:
    has = cluster(Nodes(8, 2), Nodes(8, 2))
    small, whole = Want("scorer", 1, 1, 2), Want("llm", 1, 2)
    assert not fit([small, whole], has)
    assert fit([small, whole], has, kindly=True)


def test_fit_keeps_a_cpu_for_tasks_wherever_one_is_left() -> None:
    pool = Want("llm", 8, 1, 1, GENERATION)
    assert not fit([pool, ONE_CPU], cluster(Nodes(8, 1, GENERATION)))
    assert fit([pool, ONE_CPU], cluster(Nodes(8, 1, GENERATION), Nodes(1, 0)))


def test_capacity_totals_are_of_living_nodes_and_of_the_largest_that_may_come() -> None:
    has = cluster(Nodes(0, 0), Nodes(8, 1), may_come=(Nodes(4, 2, {}, 3), Nodes(16, 0, {}, 1)), most_new=2)
    assert (has.cpus, has.gpus) == (8 + 16 + 4, 1 + 4)


@given(
    st.lists(st.tuples(st.integers(0, 8), st.integers(0, 4)), max_size=4),
    st.lists(st.tuples(st.integers(1, 4), st.sampled_from([0, 0.5, 1, 2]), st.integers(1, 3)), max_size=4),
)
def test_placed_never_exceeds_what_the_nodes_have(
    nodes: list[tuple[int, int]], wanted: list[tuple[int, float, int]]
) -> None:
    wants = [Want(f"w{i}", cpus, gpus, count) for i, (cpus, gpus, count) in enumerate(wanted)]
    has = cluster(*(Nodes(cpus, gpus) for cpus, gpus in nodes))
    for kindly in (False, True):
        found = placed(wants, has, kindly)
        assert all(found[w.name] <= w.count for w in wants)
        assert sum(found[w.name] * w.cpus for w in wants) <= has.cpus
        assert sum(found[w.name] * w.gpus for w in wants) <= has.gpus


def test_labels_and_sizes_read_as_in_messages() -> None:
    assert as_labels({"zone": "a", **SCORING}) == "raysft-pool=scoring,zone=a"
    assert sizes([Nodes(8, 1, SCORING), Nodes(8, 1, SCORING), Nodes(4, 0)]) == (
        "2 × 8 CPUs and 1 GPUs (raysft-pool=scoring), 4 CPUs and 0 GPUs"
    )
    assert str(Want("llm", 1, 2, 3, GENERATION)) == "3 × llm (1 CPUs, 2 GPUs on raysft-pool=generation)"
