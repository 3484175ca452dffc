"""TF-IDF without a model: hashed word counts, weighted, and brought to a few dimensions by latent semantic analysis.

Deerwester et al. 1990. Words are hashed to FEATURES columns, so no vocabulary is kept and the cost is linear in the
text; the directions are found on at most FITTED rows by a randomised SVD (Halko, Martinsson, Tropp 2011, algorithm
4.4), so that is bounded too. numpy and scipy only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from posttrain.data.shingles import Vocabulary

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

FEATURES = 1 << 16
DIMENSIONS = 128
FITTED = 20_000
CHUNK = 4096
OVERSAMPLED, ITERATIONS = 10, 4


def tfidf(texts: Sequence[str]) -> csr_matrix:
    """Rows of unit length [n, FEATURES], float32: (1 + ln count) times (1 + ln((1 + n) / (1 + rows with the word)))."""
    from scipy.sparse import csr_matrix

    vocabulary = Vocabulary()
    columns, lengths = [], [np.zeros(1, np.int64)]
    for start in range(0, len(texts), CHUNK):
        words = vocabulary.read(texts[start : start + CHUNK])
        columns.append((words.hashes % np.uint64(FEATURES)).astype(np.int32))
        lengths.append(words.lengths)
    indices = np.concatenate(columns) if columns else np.zeros(0, np.int32)
    shape = (len(texts), FEATURES)
    counts = csr_matrix((np.ones(len(indices), np.float32), indices, np.cumsum(np.concatenate(lengths))), shape=shape)
    counts.sum_duplicates()
    rows_with = np.bincount(counts.indices, minlength=FEATURES)
    weights = (1 + np.log((1 + len(texts)) / (1 + rows_with))).astype(np.float32)
    counts.data = (1 + np.log(counts.data)) * weights[counts.indices]
    norms = np.sqrt(np.asarray(counts.multiply(counts).sum(axis=1)).ravel())
    counts.data /= np.repeat(np.maximum(norms, 1e-12), np.diff(counts.indptr)).astype(np.float32)
    return counts


def embed(texts: Sequence[str], *, dimensions: int = DIMENSIONS, seed: int = 0) -> NDArray[np.float32]:
    """Unit vectors [n, d], d <= dimensions; a text without words is the zero vector.

    The directions are those of these texts: vectors of two calls don't compare.
    """
    n = len(texts)
    if not n:
        return np.zeros((0, dimensions), np.float32)
    weighted = tfidf(texts)
    draw = np.random.default_rng(seed)
    fitted = weighted if n <= FITTED else weighted[np.sort(draw.choice(n, FITTED, replace=False))]
    width = min(dimensions + OVERSAMPLED, n)
    basis = np.asarray(fitted @ draw.standard_normal((FEATURES, width), dtype=np.float32))
    for _ in range(ITERATIONS):
        basis = np.linalg.qr(basis)[0]
        basis = np.asarray(fitted @ (fitted.T @ basis))
    basis = np.linalg.qr(basis)[0]
    directions = np.linalg.svd(np.asarray(fitted.T @ basis).T, full_matrices=False)[2][:dimensions]
    projected: NDArray[np.float32] = np.asarray(weighted @ directions.T.astype(np.float32))
    return unit(projected)


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of length 1; a row of zeros stays."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: NDArray[np.float32] = (vectors / np.maximum(norms, 1e-12)).astype(np.float32)
    return scaled
