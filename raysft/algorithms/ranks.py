"""Statistics of ranks."""

from __future__ import annotations

import numpy as np


def auc(positive: np.ndarray, negative: np.ndarray) -> float | None:
    """Probability that a value drawn from `positive` is above one drawn from `negative`; equal values count
    half. The area under the ROC curve, by the U statistic of Mann & Whitney (1947). Infinities are values
    like any other; None where either side is empty.

    Raises:
        ValueError: a value is NaN, which has no rank.
    """
    if not len(positive) or not len(negative):
        return None
    if np.isnan(positive).any() or np.isnan(negative).any():
        raise ValueError("NaN has no rank")
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, side="left").sum()
    up_to = np.searchsorted(ordered, positive, side="right").sum()
    return float((below + up_to) / 2 / (len(positive) * len(negative)))
