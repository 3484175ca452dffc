"""Texts as hashed words and n-grams, many at once: what duplicates and contamination are counted in. numpy only.

A word's hash is the first 64 bits of its BLAKE2b, so it is the same in every process; an n-gram's is a polynomial in
its words' hashes, mixed. Two different n-grams share a hash with probability 2^-64: for 10^9 of them a few in a hundred
scans, and what is found is shown with its text.

Axes: n texts; t tokens of all of them end to end; g n-grams of all of them end to end. `starts` [n + 1] says where
each text begins.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]
T = TypeVar("T", np.int64, np.uint64)

WORD, NUMBER, OPERATOR = 0, 1, 2
# A minus counts where something follows it at once: a dash between words does not.
_TOKEN = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]+|[+*/^=<>%]|-(?=[\w\\({$])")
_STEP = np.uint64(0x9E3779B97F4A7C15)
_PADDING = np.uint64(0xD6E8FEB86659FD93)
MASKED = np.uint64(0xA0761D6478BD642F)  # every number's hash where numbers are masked


@dataclass(frozen=True, eq=False)
class Words:
    """hashes: uint64 [t]. kinds: int8 [t], WORD, NUMBER or OPERATOR. starts: int64 [n + 1]."""

    hashes: U64
    kinds: NDArray[np.int8]
    starts: I64

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> I64:
        return np.diff(self.starts)

    def only(self, keep: NDArray[np.bool_]) -> Words:
        """The tokens of a mask [t], in the same texts."""
        return Words(self.hashes[keep], self.kinds[keep], _sums(keep.astype(np.int64))[self.starts])

    def without_operators(self) -> Words:
        return self.only(self.kinds != OPERATOR)

    def masked(self) -> Words:
        """Every number, in figures, as one and the same token."""
        return Words(np.where(self.kinds == NUMBER, MASKED, self.hashes), self.kinds, self.starts)

    def count(self, kind: int) -> I64:
        """How many tokens of a kind each text has, [n]."""
        return _between(_sums((self.kinds == kind).astype(np.int64)), self.starts)


class Vocabulary(dict[str, int]):
    """Reads texts into Words, and remembers every word that it has met.

    Lower-cased words, numbers in figures without thousands separators, operators; all other signs are left out.
    """

    def __init__(self) -> None:
        super().__init__()
        self._ids: dict[str, int] = {}
        self._hashes = np.zeros(1024, np.uint64)
        self._kinds = np.zeros(1024, np.int8)

    def __missing__(self, token: str) -> int:
        spelled = token.replace(",", "") if token[0].isdigit() else token
        number = self._ids.get(spelled)
        if number is None:
            number = self._ids[spelled] = len(self._ids)
            self._learn(number, spelled)
        self[token] = number
        return number

    def _learn(self, number: int, spelled: str) -> None:
        if number == len(self._hashes):
            self._hashes = np.concatenate([self._hashes, np.zeros_like(self._hashes)])
            self._kinds = np.concatenate([self._kinds, np.zeros_like(self._kinds)])
        digest = hashlib.blake2b(spelled.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        self._hashes[number] = int.from_bytes(digest, "little")
        first = spelled[0]
        self._kinds[number] = NUMBER if first.isdigit() else WORD if first.isalpha() else OPERATOR

    def read(self, texts: Sequence[str]) -> Words:
        """The words of `texts`, in order."""
        found = [_TOKEN.findall(text.lower()) for text in texts]
        starts = _sums(np.fromiter(map(len, found), np.int64, len(found)))
        ids = np.fromiter(map(self.__getitem__, chain.from_iterable(found)), np.int32, int(starts[-1]))
        return Words(self._hashes[ids], self._kinds[ids], starts)


def mix(values: U64) -> U64:
    """A bijection of the 64-bit integers that leaves no pattern (splitmix64's finaliser, Steele et al. 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def ngrams(words: Words, n: int) -> tuple[U64, I64]:
    """(hashes [g], text of each [g]): all n-grams of every text, in order; a shorter text is one gram of its own."""
    values, starts = _padded(words, n)
    lengths = np.diff(starts)
    counts = np.maximum(lengths - n + 1, 0)
    rows = np.repeat(np.arange(len(words), dtype=np.int64), counts)
    if not len(rows):
        return np.zeros(0, np.uint64), rows
    windows = len(values) - n + 1
    grams = values[:windows].copy()
    for offset in range(1, n):
        grams *= _STEP
        grams += values[offset : offset + windows]
    at = np.arange(len(rows), dtype=np.int64) + (starts[:-1] - _sums(counts)[:-1])[rows]
    return mix(grams[at]), rows


def _padded(words: Words, n: int) -> tuple[U64, I64]:
    """Values and starts with every text that has words filled up to n of them."""
    lengths = words.lengths
    if not np.any((lengths > 0) & (lengths < n)):
        return words.hashes, words.starts
    starts = _sums(np.where(lengths > 0, np.maximum(lengths, n), 0))
    values = np.full(int(starts[-1]), _PADDING)
    values[np.arange(len(words.hashes)) + np.repeat(starts[:-1] - words.starts[:-1], lengths)] = words.hashes
    return values, starts


def sequence_hashes(words: Words) -> U64:
    """One hash per text [n] of its words in their order; 0 for a text without words."""
    places = np.arange(len(words.hashes), dtype=np.uint64) - np.repeat(words.starts[:-1], words.lengths).astype(
        np.uint64
    )
    return _between(_sums(mix(words.hashes + places * _STEP)), words.starts)


def bag_hashes(words: Words) -> U64:
    """One hash per text [n] of its words in any order, each as often as it comes; 0 for none."""
    return _between(_sums(mix(words.hashes)), words.starts)


def distinct(values: U64) -> U64:
    """Different values, ascending. np.unique hashes before it sorts, which takes several times as long."""
    ordered = np.sort(values)
    new = np.ones(len(ordered), np.bool_)
    new[1:] = ordered[1:] != ordered[:-1]
    found: U64 = ordered[new]
    return found


def _sums(values: NDArray[T]) -> NDArray[T]:
    """Cumulative sums from 0, [len + 1]; unsigned ones wrap around, and so do differences of them."""
    return np.concatenate([np.zeros(1, values.dtype), np.cumsum(values, dtype=values.dtype)])


def _between(sums: NDArray[T], starts: I64) -> NDArray[T]:
    return sums[starts[1:]] - sums[starts[:-1]]
