"""Order and requirements of tests: what starts a real engine runs last, what needs a GPU needs one."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from raysft.runtime.capacity import Capacity
from raysft.runtime.cluster import connected


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Cheap tests first, so that a broken rule shows in seconds and not behind an engine's start."""
    items.sort(key=lambda item: any(item.get_closest_marker(name) for name in ("vllm", "gpu")))


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a GPU")


@pytest.fixture(scope="session")
def local_ray() -> Iterator[Capacity]:
    """What the one local Ray of the test session can hold; it is stopped at the end."""
    with connected(None) as has:
        logging.getLogger("ray.data").setLevel(logging.WARNING)  # else pages of it above every failure
        yield has


@pytest.fixture
def session_ray_alone(local_ray: Capacity, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands join the session's Ray, whatever cluster the environment names."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.delenv("RAYSFT_TRACEBACK", raising=False)
