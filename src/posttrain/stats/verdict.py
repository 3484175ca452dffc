"""A paired comparison in plain words."""

from __future__ import annotations

from posttrain.stats.paired import Paired
from posttrain.stats.power import items_needed

ONE_POINT = 0.01


def in_words(paired: Paired, *, p: float | None = None) -> str:
    """ "better", "worse", or "cannot tell; it would take about N items".

    `p` overrides the comparison's own p-value, for one adjusted over a family. N is what the observed difference would
    need at 80 % power; where less than a tenth of a point was seen, what a one-point difference would need.
    """
    alpha = 1 - paired.confidence
    if (paired.p if p is None else p) < alpha and paired.difference != 0:
        return "better" if paired.difference > 0 else "worse"
    if abs(paired.difference) < ONE_POINT / 10:
        needed = max(items_needed(ONE_POINT, paired.variance, alpha=alpha), paired.n + 1)
        return f"cannot tell; it would take about {rounded(needed)} items to see a difference of 1 point"
    needed = max(items_needed(paired.difference, paired.variance, alpha=alpha), paired.n + 1)
    return f"cannot tell; it would take about {rounded(needed)} items"


def rounded(count: int) -> str:
    """Two leading digits with thousands separators: 12,345 → "12,000"; small counts stay exact."""
    if count < 100:
        return str(count)
    scale = 10 ** (len(str(count)) - 2)
    return f"{-(-count // scale) * scale:,}"
