"""Does accuracy rise over the checkpoints of one run? Judged per problem, so that hard problems don't hide it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from posttrain.errors import DataError
from posttrain.stats.intervals import as_items, t_interval
from posttrain.stats.paired import sign_flip


@dataclass(frozen=True, slots=True)
class Trend:
    """Mean over problems of each problem's least-squares slope, in accuracy per unit of `steps`."""

    slope: float
    low: float
    high: float
    p: float
    n: int


def trend(steps: ArrayLike, scores: ArrayLike, *, confidence: float = 0.95, seed: int = 0) -> Trend:
    """`steps` [C] and item scores [C, n] of C checkpoints on the same n problems.

    The slopes of problems are independent where the scores of checkpoints are not, so the interval and the sign-flip
    test are over problems. DataError for fewer than two distinct steps.
    """
    x = as_items(steps)
    y = np.asarray(scores, dtype=np.float64)
    if y.ndim != 2 or y.shape[0] != x.size or y.shape[1] == 0:
        raise DataError(f"trend needs scores of shape [{x.size}, problems], got {y.shape}.")
    centred = x - x.mean()
    spread = float((centred**2).sum())
    if spread == 0:
        raise DataError("a trend needs at least two different checkpoints.")
    slopes = centred @ y / spread
    low, high = t_interval(slopes, confidence)
    return Trend(float(slopes.mean()), low, high, sign_flip(slopes, seed=seed), int(slopes.size))
