"""A node that Ray gave up on is tried again, and nothing of the first attempt is left."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# in a process of its own, since all that it started itself is ended between two attempts
LATE_NODE = """
import subprocess, sys
import psutil
from cluster import joining

class LateNode:
    attempts = 0
    def __init__(self, *_, **__):
        LateNode.attempts += 1
        self.process = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
        if LateNode.attempts < int(sys.argv[1]):
            raise Exception(sys.argv[2])

joining.Node = LateNode
try:
    joining.start("{}")
finally:
    children = psutil.Process().children()
    print(f"attempts {LateNode.attempts}, processes {len(children)}")
    for child in children:
        child.kill()
"""
LATE = "The current node timed out during startup. This could happen because"


@pytest.mark.parametrize(
    ("starts_at", "error", "status", "told"),
    [
        ("1", LATE, 0, "attempts 1, processes 1"),
        ("3", LATE, 0, "attempts 3, processes 1"),
        ("4", LATE, 1, "attempts 3, processes 1"),
        ("2", "no such resource", 1, "attempts 1, processes 1"),
    ],
)
def test_node_that_is_late_is_tried_three_times_and_another_failure_once(
    starts_at: str, error: str, status: int, told: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LATE_NODE, starts_at, error],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert told in done.stdout, done.stderr
    assert done.returncode == status
