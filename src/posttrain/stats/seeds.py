"""Two ways of training, each with several seeds: the seeds are a level of their own.

Another seed gives another model. How far those differ is not in any interval over problems, so the difference of two
ways of training is judged over seeds, and the interval over problems stands beside it: it speaks of these models only.
Axes: S seeds, n problems.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats

from posttrain.errors import DataError
from posttrain.stats.intervals import t_interval
from posttrain.stats.paired import sign_flip


@dataclass(frozen=True, slots=True)
class SeedComparison:
    """mean accuracy over b's seeds − mean over a's.

    low, high, p: over seeds; Welch's t, or, where one side is a single model, a t of the other side's seeds against
    it. items_low, items_high: the interval over problems, of these very models. spread: standard
    deviation over seeds, None for a single model. seeds_needed: of each side, to see this difference at 80 % power.
    """

    difference: float
    low: float
    high: float
    p: float
    items_low: float
    items_high: float
    accuracies_a: tuple[float, ...]
    accuracies_b: tuple[float, ...]
    spread_a: float | None
    spread_b: float | None
    seeds_needed: int | None
    n: int
    test: str
    confidence: float


def compare_seeds(a: ArrayLike, b: ArrayLike, *, confidence: float = 0.95, seed: int = 0) -> SeedComparison:
    """Item scores of a [S_a, n] and b [S_b, n], on the same problems in the same order.

    Where no seed differs from another, nothing is known of their spread, and interval and p are those over problems.
    DataError for other problems, or a single seed on both sides.
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1] or 0 in (*first.shape, *second.shape):
        raise DataError(f"seeds are compared on the same problems: got shapes {first.shape} and {second.shape}.")
    if max(len(first), len(second)) < 2:
        raise DataError("one seed of each says nothing of seeds. Compare the two models instead.")
    means = [side.mean(axis=1) for side in (first, second)]
    d = second.mean(axis=0) - first.mean(axis=0)
    items_low, items_high = t_interval(d, confidence)
    spreads = [float(m.std(ddof=1)) if len(m) > 1 else None for m in means]
    known = [s**2 for s in spreads if s is not None]
    difference = float(d.mean())
    if sum(known) == 0:
        low, high, p, test = items_low, items_high, sign_flip(d, seed=seed), "sign-flip over problems"
    elif len(known) == 2:
        found = stats.ttest_ind(means[1], means[0], equal_var=False)
        interval = found.confidence_interval(confidence)
        low, high, p, test = interval.low, interval.high, found.pvalue, "welch over seeds"
    else:
        several, one = (means[0], means[1]) if len(means[0]) > 1 else (means[1], means[0])
        found = stats.ttest_1samp(several, float(one[0]))
        interval = found.confidence_interval(confidence)
        ends = sorted(float(side - one[0]) * (1 if several is means[1] else -1) for side in interval)
        low, high, p, test = ends[0], ends[1], found.pvalue, "t over seeds, against one model"
    return SeedComparison(
        difference=difference,
        low=float(low),
        high=float(high),
        p=float(p),
        items_low=items_low,
        items_high=items_high,
        accuracies_a=tuple(map(float, means[0])),
        accuracies_b=tuple(map(float, means[1])),
        spread_a=spreads[0],
        spread_b=spreads[1],
        seeds_needed=_seeds_needed(difference, sum(known), confidence),
        n=int(first.shape[1]),
        test=test,
        confidence=confidence,
    )


def _seeds_needed(difference: float, variance: float, confidence: float, power: float = 0.8) -> int | None:
    """(z_{α/2} + z_β)² (s_a² + s_b²) / δ², at least 2; None where nothing or no spread was seen."""
    if difference == 0 or variance == 0:
        return None
    factor = float(special.ndtri(0.5 + confidence / 2) + special.ndtri(power))
    return max(2, math.ceil(factor**2 * variance / difference**2))


def detectable_over_seeds(
    a: Sequence[float], b: Sequence[float], confidence: float = 0.95, power: float = 0.8
) -> float | None:
    """The smallest difference that these seeds show with the given power, by the spread that they have themselves:
    (z_{α/2} + z_β) √(s_a²/S_a + s_b²/S_b); None where their spread is not known."""
    sides = [np.asarray(side, dtype=np.float64) for side in (a, b)]
    variances = [side.var(ddof=1) / len(side) for side in sides if len(side) > 1]
    if not variances or sum(variances) == 0:
        return None
    factor = float(special.ndtri(0.5 + confidence / 2) + special.ndtri(power))
    return factor * math.sqrt(sum(variances))
