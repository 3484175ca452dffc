"""Nearest neighbours by cosine similarity, in blocks: exact for some ten thousand vectors, within clusters beyond.

Axis: n unit vectors of d dimensions; m of another set.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from posttrain.curate import lsa
from posttrain.curate.selectors.kmeans import kmeans

Vectors = NDArray[np.float32]
I64 = NDArray[np.int64]

BLOCK = 2048
EXACT = 20_000  # up to so many vectors every pair is compared
CLUSTER = 2_000  # vectors of a cluster, on average, beyond that
NEAREST = 2  # clusters that a vector is compared in, so that a border parts no twins


def nearest(vectors: Vectors, others: Vectors) -> tuple[I64, NDArray[np.float64]]:
    """(index [n] of the most similar of `others`, similarity [n])."""
    index, similarity = np.zeros(len(vectors), np.int64), np.full(len(vectors), -1.0)
    for start in range(0, len(vectors), BLOCK):
        products = vectors[start : start + BLOCK] @ others.T
        best = products.argmax(axis=1)
        index[start : start + BLOCK] = best
        similarity[start : start + BLOCK] = np.take_along_axis(products, best[:, None], axis=1)[:, 0]
    return index, similarity


def to_nearest_other(vectors: Vectors) -> NDArray[np.float64]:
    """Each vector's similarity to the most similar other one, [n]; -1 where there is no other."""
    similarity = np.full(len(vectors), -1.0)
    for start in range(0, len(vectors), BLOCK):
        products = vectors[start : start + BLOCK] @ vectors.T
        rows = np.arange(len(products))
        products[rows, start + rows] = -1
        similarity[start : start + BLOCK] = products.max(axis=1)
    return similarity


def first_alike(
    vectors: Vectors, threshold: float, figures: NDArray[np.uint64], *, seed: int
) -> tuple[I64, NDArray[np.float64]]:
    """(twin [n], similarity [n]): the most similar vector that stays, for each that goes; -1 for one that stays.

    A vector goes if it is at least `threshold` similar to one that stays and stands before it. Only vectors with equal
    `figures` are compared. The similarity of one that stays is its highest with an earlier one that stays, 0 for none.
    """
    twin, similarity = np.full(len(vectors), -1), np.zeros(len(vectors))
    for members in _groups(vectors, seed):
        for start in range(0, len(members), BLOCK):
            here = members[start : start + BLOCK]
            here = here[twin[here] < 0]
            before = members[:start]
            _compare(vectors, here, before[twin[before] < 0], threshold, figures, twin, similarity)
            _compare_within(vectors, here[twin[here] < 0], threshold, figures, twin, similarity)
    for i in np.flatnonzero(twin >= 0).tolist():  # what one cluster kept another may have dropped
        while twin[twin[i]] >= 0:
            twin[i] = twin[twin[i]]
    return twin, similarity


def _alike(vectors: Vectors, some: I64, others: I64, figures: NDArray[np.uint64]) -> Vectors:
    products = vectors[some] @ vectors[others].T
    products[figures[some][:, None] != figures[others][None, :]] = -1
    return products


def _compare(
    vectors: Vectors,
    here: I64,
    kept: I64,
    threshold: float,
    figures: NDArray[np.uint64],
    twin: I64,
    similarity: NDArray[np.float64],
) -> None:
    """Vectors with those that stay and stand before them all; writes `twin` and `similarity`."""
    if not len(here) or not len(kept):
        return
    products = _alike(vectors, here, kept, figures)
    best = products.argmax(axis=1)
    highest = np.take_along_axis(products, best[:, None], axis=1)[:, 0]
    similarity[here] = np.maximum(similarity[here], highest)
    gone = highest >= threshold
    twin[here[gone]] = kept[best[gone]]


def _compare_within(
    vectors: Vectors,
    here: I64,
    threshold: float,
    figures: NDArray[np.uint64],
    twin: I64,
    similarity: NDArray[np.float64],
) -> None:
    """Each of `here` with those before it that stay."""
    products = _alike(vectors, here, here, figures)
    stays = np.ones(len(here), np.bool_)
    for j in range(1, len(here)):
        before = np.where(stays[:j], products[j, :j], -1)
        best = int(before.argmax())
        similarity[here[j]] = max(similarity[here[j]], float(before[best]))
        if before[best] >= threshold:
            twin[here[j]], stays[j] = here[best], False


def _groups(vectors: Vectors, seed: int) -> list[I64]:
    """Sets of vectors, ascending, within which pairs are looked for."""
    n = len(vectors)
    if n <= EXACT:
        return [np.arange(n)]
    labels = kmeans(vectors, n // CLUSTER, seed)
    centres = lsa.unit(np.stack([vectors[labels == c].mean(axis=0) for c in range(int(labels.max()) + 1)]))
    together = min(NEAREST, len(centres))
    closest = np.concatenate(
        [
            np.argpartition(-(vectors[start : start + BLOCK] @ centres.T), together - 1, axis=1)[:, :together]
            for start in range(0, n, BLOCK)
        ]
    )
    return [np.flatnonzero((closest == c).any(axis=1)) for c in range(len(centres))]
