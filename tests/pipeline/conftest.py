"""One local Ray for all tests of this folder."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from raysft.runtime.cluster import Capacity, connected


@pytest.fixture(scope="session")
def local_ray() -> Iterator[Capacity]:
    """What the joined local Ray can hold; it is stopped at the end of the test session."""
    with connected(None) as has:
        logging.getLogger("ray.data").setLevel(logging.WARNING)  # else pages of it above every failure
        yield has
