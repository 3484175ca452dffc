"""Ranks that respect noise: who is better than whom by paired tests, Holm-adjusted over all pairs of a table.

An entry's rank lies between 1 + the entries that are better than it and the number of entries less those that it is
better than; with the family's error bounded, all these intervals hold together (Mogstad, Romano, Shaikh and Wilhelm,
"Inference for Ranks", Review of Economic Studies 91, 2024, with Holm's step-down in place of theirs).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from posttrain.stats import compare_paired, holm, standard_error
from posttrain.stats.paired import Paired

FLIPS = 9_999  # resamples of the sign-flip test: its smallest p is 1 / (FLIPS + 1)
Scores = NDArray[np.float64]
Test = Literal["mcnemar", "sign-flip", "t", "none"]


@dataclass(frozen=True)
class Ranking:
    """Of m entries. best, worst: [m], from 1. behind: first's accuracy − each one's, None for the first itself.

    adjusted: p of each entry against the first, after Holm over all `pairs`. test: what gave the p-values.
    """

    best: tuple[int, ...]
    worst: tuple[int, ...]
    first: int
    behind: tuple[Paired | None, ...]
    adjusted: tuple[float | None, ...]
    pairs: int
    test: Test


def rank(scores: Sequence[Scores], samples_per_item: int, confidence: float = 0.95) -> Ranking:
    """scores: per entry [n], all over the same problems in the same order. At least one entry."""
    m = len(scores)
    means = [float(s.mean()) for s in scores]
    first = means.index(max(means))
    pairs = list(itertools.combinations(range(m), 2))
    test, compared = _all_pairs([(scores[a], scores[b]) for a, b in pairs], samples_per_item, confidence)
    adjusted = holm([p for _, p in compared]) if pairs else []
    better = np.zeros((m, m), dtype=bool)  # better[i, j]: i is better than j beyond noise
    for (a, b), (difference, _), p in zip(pairs, compared, adjusted, strict=True):
        if p < 1 - confidence and difference != 0:
            better[(b, a) if difference > 0 else (a, b)] = True
    known = dict(zip(pairs, adjusted, strict=True))
    ahead = [
        None
        if i == first
        else compare_paired(scores[i], scores[first], samples_per_item=samples_per_item, confidence=confidence)
        for i in range(m)
    ]
    return Ranking(
        best=tuple(int(1 + better[:, i].sum()) for i in range(m)),
        worst=tuple(int(m - better[i].sum()) for i in range(m)),
        first=first,
        behind=tuple(ahead),
        adjusted=tuple(None if i == first else known[min(i, first), max(i, first)] for i in range(m)),
        pairs=len(pairs),
        test=test,
    )


def _all_pairs(
    pairs: Sequence[tuple[Scores, Scores]], samples_per_item: int, confidence: float
) -> tuple[Test, list[tuple[float, float]]]:
    """(second − first, p) of every pair, and the test that gave p.

    In a family so large that the permutation test's smallest p could hardly pass Holm's first step, the paired t test.
    """
    if not pairs:
        return "none", []
    if samples_per_item > 1 and len(pairs) / (FLIPS + 1) >= (1 - confidence) / 2:
        return "t", [_t_test(second - first) for first, second in pairs]
    found = [compare_paired(a, b, samples_per_item=samples_per_item, confidence=confidence) for a, b in pairs]
    test: Test = "sign-flip" if any(c.test == "sign-flip" for c in found) else "mcnemar"
    return test, [(c.difference, c.p) for c in found]


def _t_test(differences: Scores) -> tuple[float, float]:
    """The mean of [n] differences with the two-sided p of its being 0."""
    mean, se = float(differences.mean()), standard_error(differences)
    if se == 0:
        return mean, 1.0 if mean == 0 else 1 / (FLIPS + 1)
    return mean, float(2 * stats.t.sf(abs(mean) / se, differences.size - 1))
