"""Does the agreement of a problem's samples say how often their majority is right?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from posttrain.errors import DataError


@dataclass(frozen=True, slots=True)
class Calibration:
    """Reliability of a confidence.

    error: Σ_bins (items in bin / n) · |mean confidence − share correct| (expected calibration error; Guo et al., arXiv
    1706.04599, eq. 3). brier: mean (confidence − correct)². bins: (low, high, items, mean confidence, share correct) of
    those that hold items.
    """

    n: int
    error: float
    brier: float
    bins: tuple[tuple[float, float, int, float, float], ...]


def calibrate(confidence: ArrayLike, correct: ArrayLike, bins: int = 10) -> Calibration:
    """`confidence` [n] in [0, 1] against `correct` [n] (true or false). Bins are of equal width, (low, high], the first
    with 0 in it. DataError for empty or unequal arrays, and confidences outside [0, 1]."""
    p, y = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    if p.ndim != 1 or p.shape != y.shape or p.size == 0:
        raise DataError(f"calibration needs one confidence per outcome, got shapes {p.shape} and {y.shape}.")
    if ((p < 0) | (p > 1)).any():
        raise DataError("confidences lie between 0 and 1.")
    place = np.clip(np.ceil(np.round(p * bins, 9)).astype(np.int64) - 1, 0, bins - 1)
    rows = []
    for k in np.unique(place):
        inside = place == k
        rows.append((k / bins, (k + 1) / bins, int(inside.sum()), float(p[inside].mean()), float(y[inside].mean())))
    error = sum(count * abs(mean - share) for _, _, count, mean, share in rows) / p.size
    return Calibration(int(p.size), float(error), float(((p - y) ** 2).mean()), tuple(rows))
