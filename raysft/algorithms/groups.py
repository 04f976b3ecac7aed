"""Runs of equal keys in a sorted array."""

from __future__ import annotations

import numpy as np


def bounds(keys: np.ndarray) -> np.ndarray:
    """int64 [groups + 1]: where each run of equal neighbours begins, and the length; [0] for no keys."""
    changes = np.flatnonzero(keys[1:] != keys[:-1]) + 1
    return np.unique(np.concatenate([[0], changes, [len(keys)]])).astype(np.int64)
