"""Is a training set free of a benchmark's questions? Exact, number-masked and long n-gram overlap, in tiers.

Three signs, from strong to weak (Brown et al. 2020 use 13-grams, arXiv 2005.14165 appendix C; masking the numbers finds
template twins, the same story with other figures, which plain n-grams miss):

drop    the texts are equal but for case, spacing and punctuation
review  at least half of the item's number-masked 8-grams occur in the row: most likely a template twin
note    one 13-gram in common: often only a phrase of the genre

Pure functions over texts; what to do with a finding is the caller's business.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

Tier = Literal["drop", "review", "note"]
_TOKEN = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]+")
MASK = "#"
MASKED_N = 8
LONG_N = 13


@dataclass(frozen=True)
class Finding:
    """One training row that overlaps one benchmark item.

    row, item: indices into the two sequences. containment: share of the item's masked 8-grams that the row holds, in
    [0, 1]. shared: the longest run of tokens that both have, as evidence.
    """

    tier: Tier
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


def containment(item: Sequence[str], row: Sequence[str], n: int = MASKED_N) -> float:
    """Share of the item's n-grams that occur in the row, in [0, 1]."""
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


def scan(rows: Iterable[str], items: Sequence[str], *, threshold: float = 0.5) -> Iterator[Finding]:
    """For every training row its strongest finding, if there is one. Linear in the rows; the items are indexed.

    threshold: the containment from which a row is for review.
    """
    plain = [tokens(item) for item in items]
    hidden = [masked(words) for words in plain]
    sizes = [len(grams(words, MASKED_N)) for words in hidden]
    exact = _index((tuple(words),) for words in plain)
    by_masked = _index(grams(words, MASKED_N) for words in hidden)
    by_long = _index(grams(words, LONG_N) if len(words) >= LONG_N else () for words in plain)
    for number, row in enumerate(rows):
        words = tokens(row)
        covered = masked(words)
        hits = Counter(item for gram in grams(covered, MASKED_N) for item in by_masked.get(gram, ()))
        shares = {item: count / sizes[item] for item, count in hits.items()}
        found = _strongest(tuple(words), grams(words, LONG_N), exact, by_long, shares, threshold)
        if found is not None:
            tier, item = found
            shared = " ".join(longest_shared(hidden[item], covered))
            yield Finding(tier, number, item, shares.get(item, 0.0), shared)


def _strongest(
    words: tuple[str, ...],
    long_grams: set[tuple[str, ...]],
    exact: dict[Hashable, list[int]],
    by_long: dict[Hashable, list[int]],
    shares: dict[int, float],
    threshold: float,
) -> tuple[Tier, int] | None:
    if words and words in exact:
        return "drop", exact[words][0]
    nearest = max(shares, key=lambda item: shares[item], default=None)
    if nearest is not None and shares[nearest] >= threshold:
        return "review", nearest
    common = Counter(item for gram in long_grams for item in by_long.get(gram, ()))
    return ("note", common.most_common(1)[0][0]) if common else None


def _index(keys: Iterable[Iterable[Hashable]]) -> dict[Hashable, list[int]]:
    index: dict[Hashable, list[int]] = {}
    for number, several in enumerate(keys):
        for key in several:
            index.setdefault(key, []).append(number)
    return index
