"""Nearest neighbours by cosine similarity, in blocks: exact for some ten thousand vectors, within clusters beyond.

Axis: n unit vectors of d dimensions; m of another set.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
I64 = NDArray[np.int64]

BLOCK = 2048
EXACT = 20_000  # up to so many vectors every pair is compared
CLUSTER = 2_000  # vectors of a cluster, on average, beyond that
ROUNDS = 8  # of k-means: clusters only have to bring neighbours together
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
    """(twin [n], similarity [n]): the first kept vector that each is at least `threshold` similar to; -1 for none.

    A vector goes if it is that similar to one that stays and stands before it. Only vectors with equal `figures` are
    compared. The similarity of one that stays is the highest met with an earlier one that stays, 0 for none.
    """
    twin, similarity = np.full(len(vectors), -1), np.zeros(len(vectors))
    for earlier, later, alike in _pairs(vectors, threshold, figures, seed):
        if twin[later] >= 0:
            continue
        kept = earlier if twin[earlier] < 0 else int(twin[earlier])
        if kept != earlier:
            alike = float(vectors[kept] @ vectors[later])
        similarity[later] = max(similarity[later], alike)
        if alike >= threshold:
            twin[later] = kept
    return twin, similarity


SHOWN = 0.1  # pairs this far below the threshold are looked at too: they are the scores of what stays


def _pairs(
    vectors: Vectors, threshold: float, figures: NDArray[np.uint64], seed: int
) -> list[tuple[int, int, float]]:
    """(earlier, later, similarity) of alike vectors, in the order of the later one."""
    found: dict[tuple[int, int], float] = {}
    for members in _groups(vectors, seed):
        for start in range(0, len(members), BLOCK):
            here = members[start : start + BLOCK]
            products = vectors[here] @ vectors[members].T
            near = (products >= threshold - SHOWN) & (figures[here][:, None] == figures[members][None, :])
            near &= members[None, :] < here[:, None]
            for i, j in zip(*np.nonzero(near), strict=True):
                found[int(here[i]), int(members[j])] = float(products[i, j])
    return [(earlier, later, alike) for (later, earlier), alike in sorted(found.items())]


def _groups(vectors: Vectors, seed: int) -> list[I64]:
    """Sets of vectors, ascending, within which pairs are looked for."""
    n = len(vectors)
    if n <= EXACT:
        return [np.arange(n)]
    k = n // CLUSTER
    draw = np.random.default_rng(seed)
    sample = vectors[draw.choice(n, min(n, 50 * k), replace=False)]
    centres = sample[:k].copy()
    for _ in range(ROUNDS):
        owner, _ = nearest(sample, centres)
        for c in range(k):
            members = sample[owner == c]
            if len(members):
                centre = members.mean(axis=0)
                centres[c] = centre / max(float(np.linalg.norm(centre)), 1e-12)
    closest = np.concatenate(
        [
            np.argpartition(-(vectors[start : start + BLOCK] @ centres.T), NEAREST - 1, axis=1)[:, :NEAREST]
            for start in range(0, n, BLOCK)
        ]
    )
    return [np.flatnonzero((closest == c).any(axis=1)) for c in range(k)]
