"""The solved/unsolved map: problems × sets, and what became of each problem on the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from posttrain.explorer.library import SampleSet
from posttrain.explorer.reading import read_columns, rows
from posttrain.stats import estimate_accuracy
from posttrain.stats.intervals import Estimate

SOLVED = 0.5  # the share of a problem's samples that must be right
SORTS = {
    "asked": "as asked",
    "first": "first solved",
    "forgotten": "forgotten",
    "flips": "flipping",
    "hardest": "hardest",
    "easiest": "easiest",
}
TAGS = ("learned", "forgotten", "flipping", "always", "never")


@dataclass(frozen=True)
class Tally:
    """One set counted: right and graded samples of each problem; of all its samples, how many were undecided, gave
    nothing that could be read, or were cut off."""

    problems: tuple[str, ...]
    right: NDArray[np.int32]
    total: NDArray[np.int32]
    undecided: int
    unparsed: int
    truncated: int

    @property
    def graded(self) -> int:
        return int(self.total.sum())

    def estimate(self) -> Estimate | None:
        """Accuracy with its interval over problems; None where nothing was graded."""
        known = self.total > 0
        if not known.any():
            return None
        sizes = set(self.total[known].tolist())
        return estimate_accuracy(self.right[known] / self.total[known], max(sizes))


@dataclass(frozen=True)
class Board:
    """problems [n]; share [n, c]: of right samples, NaN where the set did not ask the problem (or nothing is graded).

    first [n]: the column in which a problem is solved first, c where never. flips [n]: how often solved turns into
    unsolved or back. tags [n]: which of TAGS hold.
    """

    problems: tuple[str, ...]
    share: NDArray[np.float64]
    first: NDArray[np.int64]
    flips: NDArray[np.int64]
    mean: NDArray[np.float64]
    tags: tuple[frozenset[str], ...]

    def order(self, sort: str) -> NDArray[np.int64]:
        """Rows in the order of one of SORTS; ties stay as asked."""
        n = len(self.problems)
        lost = np.array(["forgotten" in t for t in self.tags], dtype=bool)
        keys: dict[str, NDArray[np.float64]] = {
            "asked": np.zeros(n),
            "first": self.first.astype(np.float64),
            "forgotten": np.where(lost, -self.last_solved, np.inf),
            "flips": -self.flips.astype(np.float64),
            "hardest": np.nan_to_num(self.mean, nan=2.0),
            "easiest": -np.nan_to_num(self.mean, nan=-1.0),
        }
        return np.argsort(keys[sort], kind="stable").astype(np.int64)

    @property
    def last_solved(self) -> NDArray[np.float64]:
        """The last column in which each problem is solved [n], −1 where never."""
        solved = self.share >= SOLVED
        c = self.share.shape[1]
        return np.where(solved.any(axis=1), c - 1 - solved[:, ::-1].argmax(axis=1), -1).astype(np.float64)


def tally(found: SampleSet) -> Tally:
    """Counts a set. From the small columns alone where it is Parquet: no response is read."""
    if found.folder is not None and (found.folder / "verdicts.parquet").is_file():
        return _from_columns(found.folder)
    order: dict[str, int] = {}
    counts: list[list[int]] = []
    undecided = unparsed = truncated = 0
    for row in rows(found):
        at = order.setdefault(row.problem, len(order))
        if at == len(counts):
            counts.append([0, 0])
        truncated += row.finish == "length"
        if row.verdict is not None:
            counts[at][0] += row.verdict.correct is True
            counts[at][1] += 1
            undecided += row.verdict.correct is None
            unparsed += row.verdict.correct is not None and not row.verdict.parsed
    table = np.array(counts, dtype=np.int32).reshape(-1, 2)
    return Tally(tuple(order), table[:, 0], table[:, 1], undecided, unparsed, truncated)


def _from_columns(folder: Path) -> Tally:
    """A verdict that lacks is a sample that is not graded; a problem without verdicts is not in the tally."""
    import pyarrow as pa
    import pyarrow.compute as pc

    verdicts = read_columns(folder / "verdicts.parquet", ["problem_id", "correct", "extracted"])
    finish = read_columns(folder / "samples.parquet", ["finish_reason"])
    coded = verdicts.column("problem_id").cast(pa.binary()).combine_chunks().dictionary_encode()
    names = tuple(name.decode("utf-8", errors="replace") for name in coded.dictionary.to_pylist())
    codes = coded.indices.to_numpy(zero_copy_only=False)
    correct = verdicts.column("correct").combine_chunks()
    right = correct.fill_null(False).to_numpy(zero_copy_only=False).astype(bool)
    unread = pc.and_(pc.is_null(verdicts.column("extracted")), pc.is_valid(verdicts.column("correct")))
    cut = pc.equal(finish.column("finish_reason"), "length") if finish.num_columns else None
    n = len(names)
    return Tally(
        names,
        np.bincount(codes[right], minlength=n).astype(np.int32),
        np.bincount(codes, minlength=n).astype(np.int32),
        int(correct.null_count),
        int(pc.sum(unread).as_py() or 0),
        int(pc.sum(cut).as_py() or 0) if cut is not None else 0,
    )


def board_of(tallies: Sequence[Tally]) -> Board:
    """The map over sets in order. Problems come in the order in which they were first asked."""
    place: dict[str, int] = {}
    for one in tallies:
        for problem in one.problems:
            place.setdefault(problem, len(place))
    share = np.full((len(place), len(tallies)), np.nan)
    for column, one in enumerate(tallies):
        at = np.fromiter((place[p] for p in one.problems), dtype=np.int64, count=len(one.problems))
        graded = one.total > 0
        share[at[graded], column] = one.right[graded] / one.total[graded]
    known = ~np.isnan(share)
    solved = share >= SOLVED
    first = np.where(solved.any(axis=1), solved.argmax(axis=1), len(tallies)) if tallies else np.zeros(0, np.int64)
    flips, begin, end = _walk(known, solved)
    counts = known.sum(axis=1)
    mean = np.divide(np.where(known, share, 0.0).sum(axis=1), counts, out=np.full(len(place), np.nan), where=counts > 0)
    ever = solved.any(axis=1)
    never_lost = (solved | ~known).all(axis=1) & (counts > 0)
    rules = {
        "learned": end & ~begin,
        "forgotten": ever & ~end,
        "flipping": flips >= 2,
        "always": never_lost,
        "never": ~ever & (counts > 0),
    }
    tags = tuple(frozenset(name for name in TAGS if rules[name][i]) for i in range(len(place)))
    return Board(tuple(place), share, first.astype(np.int64), flips, mean, tags)


def _walk(known: NDArray[np.bool_], solved: NDArray[np.bool_]) -> tuple[NDArray[np.int64], ...]:
    """(flips, solved at the first known column, solved at the last), over the columns that are known."""
    n, c = known.shape
    flips = np.zeros(n, np.int64)
    begin, now, seen = np.zeros(n, bool), np.zeros(n, bool), np.zeros(n, bool)
    for column in range(c):
        here = known[:, column]
        state = solved[:, column]
        flips += here & seen & (state != now)
        begin = np.where(here & ~seen, state, begin)
        now = np.where(here, state, now)
        seen |= here
    return flips, begin, now
