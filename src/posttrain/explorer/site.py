"""What every page stands on: the library, the index, addresses, and counts that are kept while their files stay."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import urlencode

from posttrain.errors import DataError
from posttrain.explorer.board import Board, Tally, board_of, tally
from posttrain.explorer.index import Index
from posttrain.explorer.keeper import Keeper
from posttrain.explorer.library import Found, Library, SampleSet, Series
from posttrain.explorer.live import Tail
from posttrain.explorer.reading import Row, read_columns, rows
from posttrain.explorer.sql import Spare
from posttrain.explorer.text import plain

T = TypeVar("T")
KEPT = 512  # counts, maps and comparisons that are remembered
ASKED = 220  # characters of a question in a list


class Links(Protocol):
    """The address of a page; empty where there is none, as for searching in a folder of pages."""

    def __call__(self, page: str, /, **params: str | int | None) -> str: ...


def live_links(page: str, /, **params: str | int | None) -> str:
    """Addresses of the server: /map?series=…"""
    given = {k: v for k, v in params.items() if v not in (None, "")}
    return f"/{page}" + (f"?{urlencode(given)}" if given else "")


@dataclass
class Site:
    """One opened folder. keeper: None where nobody keeps the index (a folder of pages)."""

    library: Library
    index: Index
    keeper: Keeper | None = None
    to: Links = live_links
    static: bool = False
    spare: Spare = field(default_factory=Spare)
    _kept: OrderedDict[tuple[Any, ...], Any] = field(default_factory=OrderedDict)
    _tails: dict[Path, Tail] = field(default_factory=dict)
    _asked: dict[str, tuple[set[str], dict[str, str]]] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def title(self) -> str:
        return self.library.root.name

    def remember(self, key: tuple[Any, ...], make: Callable[[], T]) -> T:
        """The value under the key, made once; keys hold the stamps of the files that it was made from."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                found: T = self._kept[key]
                return found
        made = make()
        with self._lock:
            self._kept[key] = made
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return made

    def series(self, name: str | None) -> Series:
        """By name; without one, the evaluation with the most checkpoints. DataError where there is none."""
        known = self.library.series()
        if name:
            if name not in known:
                raise DataError(f"There is no series {plain(name)!r} here. The map lists those that there are.")
            return known[name]
        if not known:
            raise DataError("There are no samples here yet. They appear as soon as a stage has written some.")
        first = next(iter(known.values())).kind
        return max((s for s in known.values() if s.kind == first), key=lambda s: len(s.sets))

    def set(self, name: str) -> SampleSet:
        known = self.library.sets()
        if name not in known:
            raise DataError(f"There is no set of samples {plain(name)!r} here. Choose one of the list.")
        return known[name]

    def series_of(self, found: SampleSet) -> Series:
        return next(s for s in self.library.series().values() if any(one.name == found.name for one in s.sets))

    def tally(self, found: SampleSet) -> Tally:
        return self.remember(("tally", found.name, found.stamp), lambda: tally(found))

    def board(self, series: Series) -> Board:
        return self.remember(
            ("board", series.name, series.stamp), lambda: board_of([self.tally(s) for s in series.sets])
        )

    def tail(self, found: Found) -> Tail:
        path = found.path / "metrics.jsonl"
        with self._lock:
            return self._tails.setdefault(path, Tail(path))

    def answers(self, sets: Sequence[SampleSet], problem: str) -> dict[str, list[Row]]:
        """The samples of a problem by set: from the index, and from the files where it is not that far."""
        found = self.index.answers(sets, problem)
        for one in sets:
            if one.name not in found and problem in self._problems(one):
                found[one.name] = list(rows(one, problem))
        return found

    def _problems(self, found: SampleSet) -> frozenset[str]:
        known = self.tally(found)
        return self.remember(("problems", found.name, found.stamp), lambda: frozenset(known.problems))

    def questions(self, series: Series) -> dict[str, str]:
        """The beginnings of the questions of a series by problem."""
        with self._lock:
            seen, texts = self._asked.setdefault(series.name, (set(), {}))
            for one in series.sets:
                if one.name in seen:
                    continue
                seen.add(one.name)
                if all(problem in texts for problem in self.tally(one).problems):
                    continue
                for problem, question in _questions(one):
                    texts.setdefault(problem, question[:ASKED])
            return texts


def _questions(one: SampleSet) -> list[tuple[str, str]]:
    if one.folder is None:
        return [(row.problem, row.question) for row in rows(one)]
    import pyarrow as pa

    table = read_columns(one.folder / "samples.parquet", ["problem_id", "question"])
    if table.num_columns < 2:
        return []
    columns = [table.column(n).cast(pa.binary()).to_pylist() for n in ("problem_id", "question")]
    return [
        (p.decode("utf-8", "replace"), q[: 4 * ASKED].decode("utf-8", "replace") if q else "")
        for p, q in zip(*columns, strict=True)
        if p is not None
    ]
