"""p-values of several comparisons at once: Holm for claims, Benjamini-Hochberg for exploration."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from posttrain.errors import DataError
from posttrain.stats.intervals import Floats


def _checked(p_values: Sequence[float]) -> Floats:
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise DataError("p-values are a list of numbers between 0 and 1.")
    return p


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values that bound the chance of any false claim in the family (Holm 1979), in the order given."""
    p = _checked(p_values)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * (p.size - np.arange(p.size)))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1.0)
    return [float(x) for x in adjusted]


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values that bound the expected share of false discoveries (Benjamini & Hochberg 1995)."""
    p = _checked(p_values)
    order = np.argsort(p, kind="stable")[::-1]
    stepped = np.minimum.accumulate(p[order] * p.size / np.arange(p.size, 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1.0)
    return [float(x) for x in adjusted]
