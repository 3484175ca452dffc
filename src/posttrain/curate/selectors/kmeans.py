"""Mini-batch k-means and silhouettes, in numpy: deterministic by seed, linear in the rows.

Axes: n rows, d dimensions, k centres, b rows of a batch.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]

BATCH = 4096
PASSES = 10  # over the rows, at most; small tables get MINIMUM batches
MINIMUM = 50
STARTS = 3  # draws of first centres, of which the nearest to the rows is taken
SEEDED = 20_000  # rows among which the first centres are looked for
CHUNK = 16_384  # rows whose distances are held at once


def kmeans(vectors: Vectors, k: int, seed: int) -> NDArray[np.int64]:
    """The cluster of each row, [n], numbered from 0 without gaps; at most `k` of them, none empty.

    Sculley, Web-scale k-means clustering (WWW 2010, algorithm 1): every centre moves to the mean of all rows that
    it was ever given in a batch. The first centres are those of k-means++ (Arthur and Vassilvitskii 2007).
    """
    rng = np.random.default_rng(seed)
    n = len(vectors)
    some = vectors[_some(n, SEEDED, rng)]
    starts = [first_centres(some, min(k, n), rng) for _ in range(STARTS)]
    centres = min(starts, key=lambda c: float(_squared(some, c).min(axis=1).sum()))
    given = np.zeros(len(centres), dtype=np.int64)
    for _ in range(max(MINIMUM, PASSES * n // BATCH)):
        batch = vectors[_some(n, BATCH, rng)]
        label = nearest(batch, centres)
        count = np.bincount(label, minlength=len(centres))
        total = np.zeros_like(centres)
        np.add.at(total, label, batch)
        given = count if len(batch) == n else given + count  # a batch of all rows is a step of the full algorithm
        moved = count > 0
        rate = (count[moved] / given[moved])[:, None].astype(np.float32)
        means = total[moved] / count[moved, None].astype(np.float32)
        centres[moved] = centres[moved] * (1 - rate) + means * rate
    return np.unique(nearest(vectors, centres), return_inverse=True)[1].astype(np.int64)


def first_centres(vectors: Vectors, k: int, rng: np.random.Generator) -> Vectors:
    """k-means++: each next centre is a row, drawn in proportion to its squared distance from those there are. Fewer
    than `k` where fewer rows differ."""
    chosen = [int(rng.integers(len(vectors)))]
    away = _squared(vectors, vectors[chosen])[:, 0]
    while len(chosen) < k and away.max() > 1e-9:
        share = np.cumsum(away, dtype=np.float64)
        chosen.append(int(np.searchsorted(share, rng.random() * share[-1], side="right")))
        away = np.minimum(away, _squared(vectors, vectors[chosen[-1:]])[:, 0])
    return vectors[chosen].copy()


def nearest(vectors: Vectors, centres: Vectors) -> NDArray[np.int64]:
    """The nearest centre of each row, [n]."""
    parts = [
        _squared(vectors[start : start + CHUNK], centres).argmin(axis=1) for start in range(0, len(vectors), CHUNK)
    ]
    return np.concatenate(parts).astype(np.int64)


def silhouettes(vectors: Vectors, label: NDArray[np.int64]) -> NDArray[np.float64]:
    """(b − a) / max(a, b) of each row, [n]: a its mean distance to the others of its cluster, b to those of the nearest
    other cluster (Rousseeuw 1987); 0 where it is alone, NaN where there is only one cluster. Quadratic in the rows."""
    names, number = np.unique(label, return_inverse=True)
    if len(names) < 2:
        return np.full(len(label), np.nan)
    distances = np.sqrt(_squared(vectors, vectors).astype(np.float64))
    np.fill_diagonal(distances, 0.0)
    sizes = np.bincount(number)
    sums = np.stack([distances[:, number == k].sum(axis=1) for k in range(len(names))], axis=1)
    own, here = sizes[number], np.arange(len(label))
    inner = sums[here, number] / np.maximum(own - 1, 1)
    means = sums / sizes
    means[here, number] = np.inf
    outer = means.min(axis=1)
    values = (outer - inner) / np.maximum(np.maximum(inner, outer), 1e-12)
    return np.where(own == 1, 0.0, values)


def _squared(a: Vectors, b: Vectors) -> Vectors:
    """Squared distances [rows of a, rows of b]."""
    found: Vectors = (a * a).sum(axis=1)[:, None] - 2 * (a @ b.T) + (b * b).sum(axis=1)
    return np.maximum(found, 0, out=found)


def _some(n: int, most: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Row numbers: all of them where there are no more than `most`, else so many at random."""
    return np.arange(n) if n <= most else rng.integers(n, size=most)
