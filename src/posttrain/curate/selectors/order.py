"""Orders in which rows are taken, and how far a budget reaches along one.

A selector says in which order it would take rows; a budget of rows, and perhaps of tokens, takes the first of them. So
what is chosen for 1,000 rows is contained in what is chosen for 2,000, and equal budgets in tokens come for free.
Axes: n rows of the table, m positions of rows that may be taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Positions: TypeAlias = NDArray[np.int64]


def shuffled(rows: Positions, seed: int) -> Positions:
    """`rows` in a random order."""
    return np.random.default_rng(seed).permutation(rows)


def in_turn(
    groups: NDArray[np.int64], rows: Positions, seed: int, weights: Mapping[int, float] | None = None
) -> Positions:
    """`rows` so that every beginning holds the groups in proportion to their weights (default: all equal).

    groups: the group of each of `rows`, [m]. Within a group the order is random. A group that is exhausted leaves its
    turns to the others in proportion to their own weights, which is how a small cluster's share is redistributed. Rows
    of a group of weight 0, or of one that `weights` doesn't name, are left out.
    """
    rng = np.random.default_rng(seed)
    due = np.full(len(rows), np.inf)
    names = np.unique(groups)
    offsets = rng.random(len(names))  # else the same groups would always get the rows that can't be shared out
    for name, offset in zip(names, offsets, strict=True):
        weight = 1.0 if weights is None else weights.get(int(name), 0.0)
        members = np.flatnonzero(groups == name)
        if weight > 0:
            due[rng.permutation(members)] = (np.arange(len(members)) + offset) / weight
    order = np.argsort(due, kind="stable")
    return rows[order[: int(np.isfinite(due).sum())]]


def longest_first_by_domain(
    domains: NDArray[np.int64], lengths: NDArray[np.int64], rows: Positions, count: int, seed: int
) -> Positions:
    """`count` of `rows` as s1 draws them (arXiv 2501.19393, appendix, the second stage of its sampling).

    Again and again a domain that still has rows is drawn, all being as likely, and of it the row of rank r by length
    (0 = the longest that is left) with a probability in proportion to 2^-r. domains, lengths: of each of `rows`, [m].
    """
    rng = np.random.default_rng(seed)
    tie = rng.random(len(rows))
    left = {
        int(d): members[np.lexsort((tie[members], -lengths[members]))].tolist()
        for d in np.unique(domains)
        if len(members := np.flatnonzero(domains == d))
    }
    open_domains = list(left)
    taken: list[int] = []
    while open_domains and len(taken) < count:
        which = int(rng.integers(len(open_domains)))
        ranked = left[open_domains[which]]
        # The inverse of the cumulative probability 1 - 2^-(r+1), cut at the number of rows that are left.
        rank = int(-np.log2(1 - rng.random() * (1 - 0.5 ** len(ranked))))
        taken.append(ranked.pop(min(rank, len(ranked) - 1)))
        if not ranked:
            open_domains.pop(which)
    return rows[np.array(taken, dtype=np.int64)]


def reach(
    order: Positions, rows: int, tokens: int | None = None, lengths: NDArray[np.int64] | None = None
) -> Positions:
    """The beginning of `order` that a budget allows: at most `rows`, and at most `tokens` in all.

    lengths: tokens of every row of the table, [n]. It stops before the first row that no longer fits: passing over long
    rows to fill up with short ones would choose by length.
    """
    taken = order[:rows]
    if tokens is None:
        return taken
    assert lengths is not None
    return taken[: int(np.searchsorted(np.cumsum(lengths[taken]), tokens, side="right"))]
