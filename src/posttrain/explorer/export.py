"""The pages as a folder: read-only, without a server, also from file://. Searching needs the server."""

from __future__ import annotations

import hashlib
import itertools
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from posttrain.errors import DamagedError, DataError, StoreError
from posttrain.explorer.index import Index
from posttrain.explorer.library import Library
from posttrain.explorer.pages.table import PAGES, SERVED_ONLY
from posttrain.explorer.render import assets, render, render_error
from posttrain.explorer.site import Site

PAIRS = 60  # comparisons that are written: each set of a series with the one before and with the first
PROBLEMS = 5_000  # problem pages of a series
MARK = "posttrain-explorer.txt"  # says that the folder is ours to write over


@dataclass
class Made:
    pages: int = 0
    bytes: int = 0
    notes: list[str] = field(default_factory=list)


@dataclass
class Files:
    """Addresses as file names. Only what will be written has one; sorting and single samples have none of their own."""

    series: frozenset[str]
    problems: Mapping[str, frozenset[str]]
    pairs: frozenset[tuple[str, str]]

    def __call__(self, page: str, /, **params: str | int | None) -> str:
        given = {k: str(v) for k, v in params.items() if v not in (None, "")}
        if page in SERVED_ONLY:
            return ""
        if page == "runs":
            return "index.html"
        if page == "map":
            name = given.get("series")
            return "map.html" if name is None else _file("map", name) if name in self.series else ""
        if page == "problem":
            series, problem = given.get("series", ""), given.get("problem", "")
            known = set(given) <= {"series", "problem", "sort", "show"}
            return _file("problem", series, problem) if known and problem in self.problems.get(series, ()) else ""
        if page == "compare":
            pair = (given.get("a", ""), given.get("b", ""))
            return "compare.html" if pair == ("", "") else _file("compare", *pair) if pair in self.pairs else ""
        return f"{page}.html"


def export(run: Path, out: Path) -> Made:
    """Writes every page below `out`. StoreError where `out` holds something else."""
    library = Library(run)
    if out.exists() and any(out.iterdir()) and not (out / MARK).exists():
        raise StoreError(f"{out} is not empty and holds no pages of an explorer. Choose another folder.")
    if out.resolve().is_relative_to(library.root):
        raise StoreError(
            f"{out} lies within {run}, and what is exported must not be part of it. Choose another folder."
        )
    made = Made()
    with tempfile.TemporaryDirectory(prefix="posttrain-explorer-") as scratch:
        index = Index(Path(scratch))
        index.create()
        made.notes += index.update(list(library.sets().values()))
        site = Site(library, index, static=True)
        files = _files(site, made)
        site.to = files
        for name, page, params in _pages(site, files):
            try:
                html = render(site, page, PAGES[page].make(site, params))
            except (DataError, DamagedError) as error:
                html = render_error(site, str(error))
            made.bytes += _write(out / name, html.encode())
            made.pages += 1
    for name, path in assets().items():
        (out / "assets" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, out / "assets" / name)
    _write(out / MARK, b"Pages of a run, written by posttrain explore --static. Written over by the next one.\n")
    return made


def _files(site: Site, made: Made) -> Files:
    series = site.library.series()
    problems: dict[str, frozenset[str]] = {}
    pairs: list[tuple[str, str]] = []
    for name, one in series.items():
        try:
            known = site.board(one).problems
        except DamagedError as error:
            made.notes.append(str(error))
            known = ()
        if len(known) > PROBLEMS:
            made.notes.append(f"{one.title}: the first {PROBLEMS:,} of {len(known):,} problems have a page")
        problems[name] = frozenset(known[:PROBLEMS])
        if one.kind in ("answers", "validation"):
            sets = [s.name for s in one.sets]
            pairs += [(sets[0], s) for s in sets[1:]] + list(itertools.pairwise(sets[1:]))
    return Files(frozenset(series), problems, frozenset(dict.fromkeys(pairs[:PAIRS])))


def _pages(site: Site, files: Files) -> Iterator[tuple[str, str, dict[str, str]]]:
    """(file, page, parameters) of all that is written."""
    for page in PAGES:
        if PAGES[page].title and page not in SERVED_ONLY:
            yield files(page), page, {}
    for name in files.series:
        yield _file("map", name), "map", {"series": name}
        for problem in files.problems[name]:
            yield _file("problem", name, problem), "problem", {"series": name, "problem": problem}
    for a, b in files.pairs:
        yield _file("compare", a, b), "compare", {"a": a, "b": b}


def _file(page: str, *names: str) -> str:
    """A readable file name that no two pages share."""
    text = "-".join(names)
    short = re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-")[:60]
    return f"{page}-{short}-{hashlib.sha256(chr(0).join(names).encode()).hexdigest()[:8]}.html"


def _write(path: Path, content: bytes) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return len(content)
