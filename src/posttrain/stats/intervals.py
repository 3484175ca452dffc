"""Means of problems with standard errors and intervals.

The unit is always the problem: K samples of one problem are averaged first (`item_means`), because samples of one
problem are not independent of each other. Axis letters: n problems, K samples of each, C clusters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from posttrain.errors import DataError

Floats = NDArray[np.float64]

SMALL = 300  # below this many problems a proportion gets Wilson's interval (one sample of each)
FEW = 10  # ... and any evaluation in which fewer problems than this had a success, or had a failure


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its uncertainty. `method` names the interval: wilson, t, or bca."""

    value: float
    low: float
    high: float
    se: float
    n: int
    confidence: float
    method: str


def as_items(scores: ArrayLike) -> Floats:
    """A checked float array [n]. DataError when it is empty, not one-dimensional, or holds NaN."""
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1 or values.size == 0:
        raise DataError(f"statistics need one score per problem, got an array of shape {values.shape}.")
    if not np.isfinite(values).all():
        raise DataError("statistics need finite scores, got NaN or infinity. Decide or drop those problems first.")
    return values


def item_means(samples: ArrayLike) -> Floats:
    """[n, K] → [n]: each problem's mean over its own samples."""
    values = np.asarray(samples, dtype=np.float64)
    if values.ndim != 2 or 0 in values.shape:
        raise DataError(f"item_means needs an [n, K] array, got shape {values.shape}.")
    return np.asarray(values.mean(axis=1), dtype=np.float64)


def standard_error(scores: ArrayLike) -> float:
    """sqrt(Σ(s_i − s̄)² / (n(n−1))) over n problems; NaN-free: 0 for a single problem (Miller, arXiv 2411.00640)."""
    values = as_items(scores)
    n = values.size
    if n == 1:
        return 0.0
    return math.sqrt(float(((values - values.mean()) ** 2).sum()) / (n * (n - 1)))


def clustered_standard_error(scores: ArrayLike, clusters: ArrayLike) -> float:
    """SE when problems come in related groups (one passage, one template): (1/n)·sqrt(Σ_c(Σ_{i∈c}(s_i−s̄))²·C/(C−1)).

    Miller, arXiv 2411.00640, section 2.2, with the small-sample factor C/(C−1). `clusters` labels each problem, [n].
    """
    values = as_items(scores)
    labels = np.asarray(clusters)
    if labels.shape != values.shape:
        raise DataError(f"one cluster label per problem is needed: {labels.shape} labels for {values.shape} scores.")
    _, index = np.unique(labels, return_inverse=True)
    sums = np.bincount(index, weights=values - values.mean())
    if sums.size < 2:
        raise DataError("a clustered standard error needs at least two clusters; all problems are in one.")
    return math.sqrt(float((sums**2).sum()) * sums.size / (sums.size - 1)) / values.size


def wilson(successes: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval for a proportion; never of zero width, also at 0 of n and n of n.

    `successes` may be a sum of item means: samples of one problem can only narrow the truth, so the interval is then
    conservative.
    """
    if not 0 <= successes <= n or n < 1:
        raise DataError(f"wilson needs 0 <= successes <= n and n >= 1, got {successes} of {n}.")
    z = z_value(confidence)
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return low, high


def z_value(confidence: float) -> float:
    """Two-sided normal quantile: 1.96 for 0.95. DataError outside (0, 1)."""
    if not 0 < confidence < 1:
        raise DataError(f"a confidence level lies between 0 and 1, got {confidence!r}.")
    return float(special.ndtri(0.5 + confidence / 2))


def t_interval(scores: ArrayLike, confidence: float = 0.95) -> tuple[float, float]:
    """mean ± t_{n−1} · SE over problems."""
    values = as_items(scores)
    mean = float(values.mean())
    if values.size == 1:
        return mean, mean
    half = float(stats.t.ppf(0.5 + confidence / 2, values.size - 1)) * standard_error(values)
    return mean - half, mean + half


def bca_interval(
    scores: ArrayLike, confidence: float = 0.95, *, resamples: int = 9_999, seed: int = 0
) -> tuple[float, float]:
    """Bias-corrected and accelerated bootstrap interval of the mean (Efron 1987), seeded.

    Constant data carry no spread to resample: the interval is the point itself (scipy returns NaN there).
    """
    values = as_items(scores)
    if np.ptp(values) == 0:
        return float(values[0]), float(values[0])
    result = stats.bootstrap(
        (values,),
        np.mean,
        confidence_level=confidence,
        n_resamples=resamples,
        batch=max(1, 2_000_000 // values.size),
        method="BCa",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(result.low), float(result.high)


def estimate_accuracy(scores: ArrayLike, samples_per_item: int = 1, confidence: float = 0.95) -> Estimate:
    """The mean of n item scores in [0, 1] with the interval that fits.

    Wilson for one sample of each of fewer than 300 problems, and whenever nearly all problems agree: a t interval of 0
    correct of 1,319 would be the point 0 and claim certainty. Otherwise the item-level t interval, cut at 0 and 1.
    """
    values = as_items(scores)
    if (values < 0).any() or (values > 1).any():
        raise DataError("accuracies lie in [0, 1]; use t_interval or bca_interval for other scores.")
    n, mean, se = int(values.size), float(values.mean()), standard_error(values)
    single = samples_per_item == 1 and n < SMALL and bool(np.isin(values, (0.0, 1.0)).all())
    if single or min(int((values > 0).sum()), int((values < 1).sum())) < FEW:
        low, high = wilson(float(values.sum()), n, confidence)
        return Estimate(mean, low, high, se, n, confidence, "wilson")
    low, high = t_interval(values, confidence)
    return Estimate(mean, max(0.0, low), min(1.0, high), se, n, confidence, "t")
