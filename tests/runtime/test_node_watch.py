"""Waiting for nodes: told, bounded, and forgotten as soon as the run goes on."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from raysft.runtime import node_watch
from raysft.runtime.capacity import ONE_CPU, Nodes, Want
from raysft.runtime.node_watch import NodesMissing, NodeWatch, watched

WANTS = [Want("llm", 1, 2, 1, {"raysft-pool": "generation"}), ONE_CPU]
HOLDS_IT = Nodes(4, 2, {"raysft-pool": "generation"})


class Clock:
    """A watch over nodes and a time that the test sets."""

    def __init__(self, wait_s: float) -> None:
        self.now, self.nodes, self.notes = 0.0, [Nodes(0, 0)], list[str]()
        self.watch = NodeWatch(wait_s, self.notes.append, self.living, lambda: self.now)
        self.watch.needs(WANTS)

    def living(self) -> Sequence[Nodes]:
        return self.nodes

    def at(self, now: float) -> NodesMissing | None:
        self.now = now
        self.watch.look()
        return self.watch.error


def test_watch_waits_as_long_as_it_may_and_then_names_what_is_missing() -> None:
    clock = Clock(60)
    assert clock.at(0) is None
    assert clock.notes == []
    assert clock.at(59) is None
    assert clock.notes == [
        "  waiting up to 60 s for nodes: the cluster must hold 1 × llm (1 CPUs, 2 GPUs on "
        "raysft-pool=generation) and 1 × reading and writing (1 CPUs, 0 GPUs); its nodes are 0 CPUs and 0 "
        "GPUs"
    ]
    assert "waited 60 s (wait_for_nodes_s) for nodes that did not come" in str(clock.at(60))


def test_watch_begins_anew_when_nodes_come_or_work_was_done() -> None:
    clock = Clock(60)
    clock.at(0)
    clock.at(50)
    clock.nodes = [HOLDS_IT]
    clock.at(55)
    assert clock.notes[-1] == "  the nodes that were missing are there"
    clock.nodes = []
    assert clock.at(70) is None
    assert clock.at(129) is None
    clock.watch.heard()
    assert clock.at(131) is None
    assert clock.at(190) is None
    assert clock.at(191) is not None


def test_watch_interrupts_a_main_thread_that_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_watch, "LOOK_EVERY_S", 0.01)
    never = threading.Event()

    def wait_for_ever() -> None:
        with watched(0.05, lambda line: None, tuple) as watch:
            watch.needs([ONE_CPU])
            never.wait(60)

    with pytest.raises(NodesMissing, match=r"reading and writing \(1 CPUs, 0 GPUs\); its nodes are none"):
        wait_for_ever()
