"""Is a training set free of a benchmark's questions? Equal texts and common n-grams, in tiers.

drop    the same text but for case, spacing and punctuation; or at least half of the item's 8-grams occur in the row,
        with its numbers or with every number masked. Masking finds template twins, the same story with other figures,
        which plain n-grams miss. Or the row has the item's figures, all of them and no others, and 60 % of its 4-grams:
        of a short question one exchanged word leaves hardly an 8-gram
review  one 13-gram in common (Brown et al. 2020, arXiv 2005.14165, appendix C): a passage, or a long phrase
note    one 8-gram in common: mostly a phrase of the genre

Short items are everybody's exercise ("what is # + #"), so an item of fewer than 8 words and numbers counts as
contained nowhere, and one of fewer than 12 words has no masked sign; both are still found as equal texts.

Pure functions over texts; what to do with a finding is the caller's business.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from posttrain.data.shingles import I64, U64, WORD, Vocabulary, Words, bag_hashes, mix, ngrams, sequence_hashes

Tier = Literal["drop", "review", "note"]
Sign = Literal["equal", "8-grams", "masked 8-grams", "4-grams", "13-gram", "8-gram", "embedding"]
_TOKEN = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]+")
MASK = "#"
SHORT_N = 8
LONG_N = 13
STORY = 12  # words of an item from which its masked 8-grams count
NEAR_N = 4
NEARLY = 0.6  # share of an item's 4-grams in a text with the same figures
CHUNK = 4096  # rows looked at in one go
EXPANDED = 1 << 22  # (row, item) pairs held in one go


class Hit(NamedTuple):
    """One row that overlaps one item. containment: the share of the item's n-grams that the row holds, in [0, 1]; n is
    8, or 4 for that sign."""

    tier: Tier
    sign: Sign
    row: int
    item: int
    containment: float


@dataclass(frozen=True)
class Finding:
    """A Hit with its evidence. shared: the longest run of tokens that both have, numbers masked."""

    tier: Tier
    sign: Sign
    row: int
    item: int
    containment: float
    shared: str


def tokens(text: str) -> list[str]:
    """Lower-cased words and numbers; thousands separators don't count."""
    return [t.replace(",", "") if t[0].isdigit() else t for t in _TOKEN.findall(text.lower())]


def masked(words: Iterable[str]) -> list[str]:
    """Every number, in figures, as one and the same token."""
    return [MASK if w[0].isdigit() else w for w in words]


def grams(words: Sequence[str], n: int) -> set[tuple[str, ...]]:
    """All n-grams; a text shorter than n is one gram of its own."""
    if not words:
        return set()
    return {tuple(words[i : i + n]) for i in range(max(1, len(words) - n + 1))}


def containment(item: Sequence[str], row: Sequence[str], n: int = SHORT_N) -> float:
    """Share of the item's n-grams that occur in the row, in [0, 1]. `Index` counts the same by hashes."""
    wanted = grams(item, n)
    return len(wanted & grams(row, n)) / len(wanted) if wanted else 0.0


def longest_shared(a: Sequence[str], b: Sequence[str]) -> list[str]:
    """The longest run of tokens that both have."""
    best, end = 0, 0
    lengths = [0] * (len(b) + 1)
    for i, word in enumerate(a):
        previous = 0
        for j, other in enumerate(b):
            previous, lengths[j + 1] = lengths[j + 1], previous + 1 if word == other else 0
            if lengths[j + 1] > best:
                best, end = lengths[j + 1], i + 1
    return list(a[end - best : end])


def evidence(row: str, item: str) -> str:
    """The longest run of tokens that two texts have in common, numbers masked."""
    return " ".join(longest_shared(masked(tokens(item)), masked(tokens(row))))


def scan(rows: Iterable[str], items: Sequence[str], *, threshold: float = 0.5, mask: bool = True) -> Iterator[Finding]:
    """For every row its strongest finding, if there is one, with the evidence. Linear in the rows.

    threshold: the containment from which a row is to be dropped. mask: whether masked 8-grams count; they must not
    where rows and items are made from the same templates on purpose.
    """
    index = Index(items, mask=mask)
    rows = iter(rows)
    done = 0
    while texts := list(islice(rows, CHUNK)):
        for hit in index.hits(texts, threshold):
            shared = evidence(texts[hit.row], items[hit.item])
            yield Finding(hit.tier, hit.sign, done + hit.row, hit.item, hit.containment, shared)
        done += len(texts)


class Index:
    """Items, ready to be looked for in any number of rows."""

    def __init__(self, items: Sequence[str], *, mask: bool = True) -> None:
        self._vocabulary = Vocabulary()
        read = self._vocabulary.read(items)
        whole = sequence_hashes(read)
        some = np.flatnonzero(read.lengths)
        self._whole, first = np.unique(whole[some], return_index=True)
        self._whole_item = some[first]
        plain = read.without_operators()
        long_enough = plain.lengths >= SHORT_N
        self._short = _Table(plain, SHORT_N, long_enough)
        story = long_enough & (plain.count(WORD) >= STORY)
        self._masked = _Table(plain.masked(), SHORT_N, story) if mask else None
        self._long = _Table(plain, LONG_N, plain.lengths >= LONG_N)
        self._near = _Table(plain, NEAR_N, long_enough, salt=_figures(read))

    def hits(self, rows: Sequence[str], threshold: float = 0.5) -> Iterator[Hit]:
        """For every row its strongest hit, if there is one, in the order of the rows."""
        for start in range(0, len(rows), CHUNK):
            for hit in self._hits(rows[start : start + CHUNK], threshold):
                yield hit._replace(row=start + hit.row)

    def _hits(self, rows: Sequence[str], threshold: float) -> Iterator[Hit]:
        read = self._vocabulary.read(rows)
        plain = read.without_operators()
        short = self._short.overlaps(plain)
        share = short.best(short.counts / self._short.sizes[short.items], len(rows))
        if self._masked is not None:
            hidden = self._masked.overlaps(plain.masked())
            covered = hidden.best(hidden.counts / self._masked.sizes[hidden.items], len(rows))
        else:
            covered = _nothing(len(rows))
        most = short.best(short.counts, len(rows))
        long = self._long.overlaps(plain)
        passage = long.best(long.counts, len(rows))
        equal = self._equal(read)
        alike = self._near.overlaps(plain, salt=_figures(read))
        near = alike.best(alike.counts / self._near.sizes[alike.items], len(rows))
        for row in np.flatnonzero(
            (equal >= 0) | (most.value > 0) | (covered.value > 0) | (near.value >= NEARLY)
        ).tolist():
            seen = float(max(share.value[row], covered.value[row]))
            if equal[row] >= 0:
                yield Hit("drop", "equal", row, int(equal[row]), 1.0)
            elif share.value[row] >= threshold:
                yield Hit("drop", "8-grams", row, int(share.item[row]), float(share.value[row]))
            elif covered.value[row] >= threshold:
                yield Hit("drop", "masked 8-grams", row, int(covered.item[row]), float(covered.value[row]))
            elif near.value[row] >= NEARLY:
                yield Hit("drop", "4-grams", row, int(near.item[row]), float(near.value[row]))
            elif passage.value[row] > 0:
                yield Hit("review", "13-gram", row, int(passage.item[row]), seen)
            elif most.value[row] > 0:
                yield Hit("note", "8-gram", row, int(most.item[row]), seen)

    def _equal(self, read: Words) -> I64:
        """The first item with the same text, [n]; -1 where there is none."""
        if not len(self._whole):
            return np.full(len(read), -1)
        whole = sequence_hashes(read)
        at = np.minimum(np.searchsorted(self._whole, whole), len(self._whole) - 1)
        return np.where((self._whole[at] == whole) & (read.lengths > 0), self._whole_item[at], -1)


def _figures(read: Words) -> U64:
    """A hash of each text's numbers and operators, in any order, [n]."""
    return bag_hashes(read.only(read.kinds != WORD))


class _Best(NamedTuple):
    """Per row [n]: the item with the greatest value, and that value; 0 where there is none."""

    item: I64
    value: NDArray[np.float64]


def _nothing(n: int) -> _Best:
    return _Best(np.full(n, -1), np.zeros(n))


class _Overlaps(NamedTuple):
    """Which rows and items have grams in common, and how many different ones; [pairs]."""

    rows: I64
    items: I64
    counts: I64

    def best(self, values: NDArray[np.float64] | I64, n: int) -> _Best:
        """The first item among the greatest of `values` [pairs], per row."""
        found = _nothing(n)
        order = np.lexsort((self.items, -values, self.rows))
        rows = self.rows[order]
        first = order[np.flatnonzero(np.diff(rows, prepend=-1))] if len(order) else order
        found.item[self.rows[first]] = self.items[first]
        found.value[self.rows[first]] = values[first]
        return found


class _Table:
    """Which items hold a gram. sizes [items]: how many different grams each has; 1 for an item that is left out."""

    def __init__(self, words: Words, n: int, wanted: NDArray[np.bool_], *, salt: U64 | None = None) -> None:
        self.n = n
        found, items = self._grams(words, salt)
        chosen = wanted[items] if len(items) else np.zeros(0, np.bool_)
        found, items = found[chosen], items[chosen]
        order = np.lexsort((items, found))
        found, items = found[order], items[order]
        new = np.ones(len(found), np.bool_)
        new[1:] = (found[1:] != found[:-1]) | (items[1:] != items[:-1])
        found, self._items = found[new], items[new]
        self._keys: U64
        self._keys, starts = np.unique(found, return_index=True)
        self._starts = np.append(starts, len(found)).astype(np.int64)
        self.sizes = np.maximum(np.bincount(self._items, minlength=len(words)), 1)

    def _grams(self, words: Words, salt: U64 | None) -> tuple[U64, I64]:
        found, texts = ngrams(words, self.n)
        return (found if salt is None else mix(found ^ salt[texts])), texts

    def overlaps(self, words: Words, *, salt: U64 | None = None) -> _Overlaps:
        """The pairs of a row and an item with a gram in common; salt: [n], only texts with an equal one have any."""
        found, rows = self._grams(words, salt)
        if not len(self._keys) or not len(found):
            return _Overlaps(*(np.zeros(0, np.int64) for _ in range(3)))
        at = np.minimum(np.searchsorted(self._keys, found), len(self._keys) - 1)
        hit = self._keys[at] == found
        pairs = np.unique(rows[hit] * len(self._keys) + at[hit])  # each gram counts once per row
        return self._expand(pairs // len(self._keys), pairs % len(self._keys))

    def _expand(self, rows: I64, keys: I64) -> _Overlaps:
        """(row, gram) pairs to (row, item, count); in parts of whole rows, so that a common gram fills no memory."""
        owners = self._starts[keys + 1] - self._starts[keys]
        total = np.cumsum(owners)
        if len(rows) and total[-1] > EXPANDED and rows[0] != rows[-1]:
            half = int(np.searchsorted(rows, rows[len(rows) // 2], "left")) or int(
                np.searchsorted(rows, rows[0], "right")
            )
            left, right = self._expand(rows[:half], keys[:half]), self._expand(rows[half:], keys[half:])
            return _Overlaps(*(np.concatenate(both) for both in zip(left, right, strict=True)))
        at = np.arange(int(owners.sum())) + np.repeat(self._starts[keys] - total + owners, owners)
        coded, counts = np.unique(np.repeat(rows, owners) * len(self.sizes) + self._items[at], return_counts=True)
        return _Overlaps(coded // len(self.sizes), coded % len(self.sizes), counts.astype(np.int64))
