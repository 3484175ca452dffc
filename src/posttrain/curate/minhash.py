"""Near duplicates by MinHash and locality-sensitive hashing, then by exact Jaccard similarity.

Broder 1997 (resemblance as the share of equal minima), Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, 3.4
(banding). As datasketch does it, but for all texts at once in numpy: one pass over all shingles per permutation. The
candidates of the bands are then compared by their shingles themselves, so the estimate decides nothing.

Permutations are x -> a x + b modulo 2^32 with odd a: bijections of the 32-bit hashes, which are random already.

Axes: n texts; g shingles of all texts end to end; p permutations.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from posttrain.data.shingles import NUMBER, OPERATOR, Vocabulary, bag_hashes, distinct, mix, ngrams

U32 = NDArray[np.uint32]
U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]

PERMUTATIONS = 128
FOUND = 0.995  # the chance that a pair at the threshold shares a band
CHUNK = 4096  # texts read in one go
BLOCK = 1 << 16  # shingles permuted in one go: they stay in the processor's cache
NEIGHBOURS = 7  # of a row within a bucket that it is compared with, beside the bucket's first
SLACK = 0.17  # an estimate this far below the threshold settles it: 4 standard errors at 128 permutations


@dataclass(frozen=True, eq=False)
class Shingles:
    """values: uint32 [g], each text's different shingles in ascending order. starts: [n + 1].

    figures: uint64 [n], a hash of each text's numbers and operators in any order. whole: uint64 [n], of its shingles.
    """

    values: U32
    starts: I64
    figures: U64
    whole: U64

    def __len__(self) -> int:
        return len(self.starts) - 1

    def of(self, i: int) -> U32:
        return self.values[self.starts[i] : self.starts[i + 1]]

    def jaccard(self, i: int, j: int) -> float:
        """Exact similarity of two texts' shingles, in [0, 1]; 0 for two texts without any."""
        a, b = self.of(i), self.of(j)
        if not len(a) or not len(b):
            return 0.0
        common = len(np.intersect1d(a, b, assume_unique=True))
        return common / (len(a) + len(b) - common)


def shingles(texts: Sequence[str], n: int) -> Shingles:
    """Word n-grams of every text; a shorter text is one of its own."""
    vocabulary = Vocabulary()
    values, counts, figures, whole = [], [], [], []
    for start in range(0, len(texts), CHUNK):
        words = vocabulary.read(texts[start : start + CHUNK])
        grams, rows = ngrams(words, n)
        keys = distinct((rows.astype(np.uint64) << np.uint64(32)) | (grams >> np.uint64(32)))
        owners = (keys >> np.uint64(32)).astype(np.int64)
        values.append(keys.astype(np.uint32))
        counts.append(np.bincount(owners, minlength=len(words)))
        figures.append(bag_hashes(words.only((words.kinds == NUMBER) | (words.kinds == OPERATOR))))
        sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(mix(keys & np.uint64(0xFFFFFFFF)), dtype=np.uint64)])
        ends = np.cumsum(counts[-1])
        whole.append(sums[ends] - sums[ends - counts[-1]])
    if not values:
        empty = np.zeros(0, np.uint64)
        return Shingles(np.zeros(0, np.uint32), np.zeros(1, np.int64), empty, empty)
    starts = np.concatenate([[0], np.cumsum(np.concatenate(counts))]).astype(np.int64)
    return Shingles(np.concatenate(values), starts, np.concatenate(figures), np.concatenate(whole))


def signatures(found: Shingles, permutations: int, seed: int) -> U32:
    """The least permuted shingle of every text under every permutation, uint32 [n, p].

    A text without shingles gets the greatest value everywhere; it has no twins.
    """
    draw = np.random.default_rng(seed)
    factors = draw.integers(0, 1 << 31, permutations, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
    offsets = draw.integers(0, 1 << 32, permutations, dtype=np.uint32)
    signed = np.full((permutations, len(found)), np.iinfo(np.uint32).max, np.uint32)
    lengths = np.diff(found.starts)
    some = np.flatnonzero(lengths)
    for rows in _blocks(some, lengths):
        low, high = int(found.starts[rows[0]]), int(found.starts[rows[-1] + 1])
        values, starts = found.values[low:high], found.starts[rows] - low
        permuted = np.empty_like(values)
        for p in range(permutations):
            np.multiply(values, factors[p], out=permuted)
            permuted += offsets[p]
            signed[p, rows] = np.minimum.reduceat(permuted, starts)
    return np.ascontiguousarray(signed.T)


def _blocks(rows: I64, lengths: I64) -> Iterator[I64]:
    """`rows` in parts of about BLOCK shingles."""
    block = np.cumsum(lengths[rows]) // BLOCK
    cuts = np.flatnonzero(np.diff(block)) + 1
    yield from (part for part in np.split(rows, cuts) if len(part))


def bands_for(threshold: float, permutations: int) -> tuple[int, int]:
    """(bands, rows of each): as many rows as leave a pair at the threshold its chance FOUND of sharing a band."""
    for rows in range(permutations, 1, -1):
        bands = permutations // rows
        if 1 - (1 - threshold**rows) ** bands >= FOUND:
            return bands, rows
    return permutations, 1


def candidates(signed: U32, bands: int, rows: int, some: NDArray[np.bool_]) -> I64:
    """Pairs (earlier, later) of texts that share a band, [pairs, 2], in the order of the later one.

    In a bucket of many, a text is paired with its NEIGHBOURS before it and with the bucket's first, so that the pairs
    stay linear in the texts. some: bool [n], the texts that have shingles.
    """
    n = len(signed)
    weights = np.random.default_rng(rows).integers(1, 1 << 63, rows, dtype=np.uint64) | np.uint64(1)
    coded = np.zeros(0, np.int64)
    at = np.flatnonzero(some)
    for band in range(bands):
        keys = (signed[at, band * rows : (band + 1) * rows].astype(np.uint64) * weights).sum(axis=1, dtype=np.uint64)
        order = at[np.argsort(keys, kind="stable")]
        keys = np.sort(keys)
        new = np.ones(len(keys), np.bool_)
        new[1:] = keys[1:] != keys[:-1]
        first = np.maximum.accumulate(np.where(new, np.arange(len(keys)), 0))
        pairs = [order[first[~new]] * n + order[~new]]
        for lag in range(1, min(NEIGHBOURS, len(keys) - 1) + 1):
            same = first[lag:] == first[:-lag]
            pairs.append(order[:-lag][same] * n + order[lag:][same])
        coded = np.union1d(coded, np.concatenate(pairs))
    found = np.stack([coded // max(n, 1), coded % max(n, 1)], axis=1)
    return found[np.lexsort((found[:, 0], found[:, 1]))]


def first_twins(
    found: Shingles, threshold: float, *, permutations: int = PERMUTATIONS, same_figures: bool = True, seed: int = 0
) -> tuple[I64, NDArray[np.float64]]:
    """(twin [n], similarity [n]): the first kept text that each is a near duplicate of; -1 and its best similarity.

    A text goes if its Jaccard similarity with one that stays, and stands before it, is at least the threshold. The
    similarity of one that stays is the highest met among its candidates, 0 where there was none.
    same_figures: two texts whose numbers or operators differ are different problems, however alike they are.
    """
    signed = signatures(found, permutations, seed)
    some = np.diff(found.starts) > 0
    pairs = candidates(signed, *bands_for(threshold, permutations), some)
    if same_figures:
        pairs = pairs[found.figures[pairs[:, 0]] == found.figures[pairs[:, 1]]]
    alike = np.concatenate(
        [
            (signed[part[:, 0]] == signed[part[:, 1]]).mean(axis=1)
            for part in np.array_split(pairs, max(1, len(pairs) // CHUNK))
        ]
    )
    pairs = pairs[alike >= threshold - SLACK]
    return _keep_first(found, pairs, threshold, same_figures)


def _keep_first(found: Shingles, pairs: I64, threshold: float, same_figures: bool) -> tuple[I64, NDArray[np.float64]]:
    twin, similarity = np.full(len(found), -1), np.zeros(len(found))
    whole = found.whole.tolist()
    for earlier, later in pairs.tolist():
        if twin[later] >= 0:
            continue
        kept = earlier if twin[earlier] < 0 else int(twin[earlier])
        if same_figures and found.figures[kept] != found.figures[later]:
            continue
        alike = 1.0 if whole[kept] == whole[later] else found.jaccard(kept, later)
        similarity[later] = max(similarity[later], alike)
        if alike >= threshold:
            twin[later] = kept
    return twin, similarity
