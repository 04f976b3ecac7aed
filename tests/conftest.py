"""Order and requirements of tests: what starts a real engine runs last, what needs a GPU needs one."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Cheap tests first, so that a broken rule shows in seconds and not behind an engine's start."""
    items.sort(key=lambda item: any(item.get_closest_marker(name) for name in ("vllm", "gpu")))


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a GPU")
