"""What a judge is worth: how far it agrees with a grader or with people, beyond chance.

Axis letters: n items, k categories.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from posttrain.errors import DataError

RESAMPLES = 4_000
Weights = Literal["linear", "quadratic"]


@dataclass(frozen=True, slots=True)
class Kappa:
    """Cohen's kappa of two raters of n items.

    kappa, low, high: None where both gave one and the same category to everything, so that chance alone explains it.
    agreement: the share of items on which they agree. table: [k, k] counts, the first rater's category by row.
    """

    n: int
    agreement: float
    kappa: float | None
    low: float | None
    high: float | None
    categories: tuple[Hashable, ...]
    table: tuple[tuple[int, ...], ...]


def cohen_kappa(
    a: Sequence[Hashable],
    b: Sequence[Hashable],
    *,
    weights: Weights | None = None,
    categories: Sequence[Hashable] | None = None,
    confidence: float = 0.95,
    seed: int = 0,
) -> Kappa:
    """κ = 1 − Σ w·observed / Σ w·expected (Cohen 1960; weighted: 1968), with w = 0 on the diagonal.

    weights: none counts every disagreement alike, linear and quadratic by the distance of categories in their order.
    categories: that order; by default those that occur, sorted. The interval is the percentile bootstrap over items.
    DataError for no items, unequal numbers of them, or a category that isn't listed.
    """
    if len(a) != len(b) or not a:
        raise DataError(f"kappa needs two ratings of every item, and at least one item: got {len(a)} and {len(b)}.")
    order = list(categories) if categories is not None else sorted({*a, *b}, key=lambda c: (str(type(c)), c))
    place = {category: i for i, category in enumerate(order)}
    unknown = next((c for c in [*a, *b] if c not in place), None)
    if unknown is not None:
        raise DataError(f"{unknown!r} is none of the categories {', '.join(map(repr, order))}.")
    k = len(order)
    cells = np.array([place[x] for x in a]) * k + np.array([place[y] for y in b])
    table = np.bincount(cells, minlength=k * k).astype(np.float64)
    cost = _cost(k, weights)
    value = float(_kappas(table[None], cost, k)[0])
    draws = np.random.default_rng(seed).multinomial(len(a), table / table.sum(), size=RESAMPLES).astype(np.float64)
    found = _kappas(draws, cost, k)
    found = found[np.isfinite(found)]
    tail = (1 - confidence) / 2
    known = np.isfinite(value) and found.size > 0
    low, high = np.quantile(found, [tail, 1 - tail]) if known else (None, None)
    square = table.reshape(k, k)
    return Kappa(
        n=len(a),
        agreement=float(np.trace(square) / square.sum()),
        kappa=value if known else None,
        low=float(low) if low is not None else None,
        high=float(high) if high is not None else None,
        categories=tuple(order),
        table=tuple(tuple(int(x) for x in row) for row in square),
    )


def _cost(k: int, weights: Weights | None) -> NDArray[np.float64]:
    """[k, k]: what a disagreement counts."""
    distance: NDArray[np.float64] = np.abs(np.subtract.outer(np.arange(k), np.arange(k))).astype(np.float64)
    if weights is None:
        return np.asarray(distance > 0, dtype=np.float64)
    return distance if weights == "linear" else np.square(distance)


def _kappas(tables: NDArray[np.float64], cost: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """[B, k·k] counts → [B]; NaN where nothing was to be disagreed about."""
    observed = tables.reshape(-1, k, k)
    total = observed.sum(axis=(1, 2))
    expected = observed.sum(axis=2)[:, :, None] * observed.sum(axis=1)[:, None, :] / total[:, None, None]
    chance = (cost * expected).sum(axis=(1, 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(chance > 0, 1 - (cost * observed).sum(axis=(1, 2)) / chance, np.nan))
