"""Two models on the same problems: difference(b − a), its interval, and a test that uses the pairing."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from posttrain.errors import DataError
from posttrain.stats.intervals import SMALL, Floats, as_items, standard_error, t_interval, z_value
from posttrain.stats.power import minimal_detectable_difference

FEW_DISCORDANT = 30  # below this the normal approximation of the t interval is poor
EXACT_FLIPS = 14  # up to this many non-zero differences all 2^m sign patterns are enumerated


@dataclass(frozen=True, slots=True)
class Paired:
    """accuracy(b) − accuracy(a) over n shared problems.

    won / lost: problems on which b scored higher / lower. variance: of one problem's difference (never 0, so that the
    minimal detectable difference `mde` stays honest when no problem differed). test: mcnemar or sign-flip.
    """

    difference: float
    low: float
    high: float
    se: float
    p: float
    n: int
    won: int
    lost: int
    variance: float
    mde: float
    test: str
    interval: str
    confidence: float


def mcnemar(won: int, lost: int) -> float:
    """Two-sided exact McNemar test: a binomial test of the discordant pairs at 1/2; 1 when there are none."""
    if won + lost == 0:
        return 1.0
    return float(stats.binomtest(won, won + lost, 0.5).pvalue)


def sign_flip(differences: ArrayLike, *, resamples: int = 9_999, seed: int = 0) -> float:
    """Two-sided permutation test of mean zero: every difference is as likely as its negative under the null.

    Exact for up to 14 non-zero differences; else seeded Monte Carlo with the (1 + hits)/(1 + resamples) correction
    (Phipson & Smyth 2010), so p is never 0.
    """
    values = as_items(differences)
    values = values[values != 0]
    if values.size == 0:
        return 1.0
    threshold = abs(float(values.sum())) * (1 - 1e-12)
    if values.size <= EXACT_FLIPS:
        patterns = (np.arange(2**values.size)[:, None] >> np.arange(values.size)) & 1
        sums = np.abs((1.0 - 2.0 * patterns) @ values)
        return float((sums >= threshold).mean())
    rng = np.random.default_rng(seed)
    hits, left = 0, resamples
    while left:
        rows = min(left, max(1, 2_000_000 // values.size))
        signs = rng.integers(0, 2, size=(rows, values.size), dtype=np.int8)
        sums = np.abs((1.0 - 2.0 * signs) @ values)
        hits += int((sums >= threshold).sum())
        left -= rows
    return (1 + hits) / (1 + resamples)


def compare_paired(
    a: ArrayLike, b: ArrayLike, *, samples_per_item: int = 1, confidence: float = 0.95, seed: int = 0
) -> Paired:
    """Item scores of a and b, [n] each and in the same order of problems.

    One sample per item: exact McNemar; otherwise the sign-flip permutation. The interval is the item-level t interval
    of b_i − a_i. With one sample and fewer than 300 problems or 30 discordant pairs it is Bonett & Price's (2012)
    adjusted interval, which stays wider than a point when no pair is discordant.
    """
    first, second = as_items(a), as_items(b)
    if first.shape != second.shape:
        raise DataError(f"a paired comparison needs the same problems: {first.size} of a, {second.size} of b.")
    d = second - first
    n = int(d.size)
    won, lost = int((d > 0).sum()), int((d < 0).sum())
    binary = bool(np.isin(first, (0.0, 1.0)).all() and np.isin(second, (0.0, 1.0)).all())
    single = samples_per_item == 1 and binary
    p = mcnemar(won, lost) if single else sign_flip(d, seed=seed)
    if (single and (n < SMALL or won + lost < FEW_DISCORDANT)) or np.ptp(d) == 0:
        low, high, method = *_bonett_price(won, lost, n, confidence), "bonett-price"
    else:
        low, high, method = *t_interval(d, confidence), "t"
    variance = _variance(d, won, lost)
    return Paired(
        difference=float(d.mean()),
        low=max(-1.0, low),
        high=min(1.0, high),
        se=standard_error(d),
        p=p,
        n=n,
        won=won,
        lost=lost,
        variance=variance,
        mde=minimal_detectable_difference(n, variance, alpha=1 - confidence),
        test="mcnemar" if single else "sign-flip",
        interval=method,
        confidence=confidence,
    )


def _bonett_price(won: int, lost: int, n: int, confidence: float) -> tuple[float, float]:
    """Adjusted Wald interval of paired proportions: one added to each discordant cell (Bonett & Price 2012)."""
    up, down = (won + 1) / (n + 2), (lost + 1) / (n + 2)
    half = z_value(confidence) * math.sqrt((up + down - (up - down) ** 2) / (n + 2))
    return min(up - down - half, (won - lost) / n), max(up - down + half, (won - lost) / n)


def _variance(d: Floats, won: int, lost: int) -> float:
    """Sample variance of the differences, floored by one more pair each way: nothing seen is not nothing there."""
    if np.ptp(d) > 0 and won + lost >= 2:
        return float(d.var(ddof=1))
    n = d.size
    up, down = (won + 1) / (n + 2), (lost + 1) / (n + 2)
    return up + down - (up - down) ** 2
