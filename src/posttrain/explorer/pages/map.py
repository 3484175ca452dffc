"""Checkpoints × problems: which problem is solved at which step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from posttrain.errors import DataError
from posttrain.explorer.board import SORTS, TAGS, Board, Tally
from posttrain.explorer.charts import accuracy_strip
from posttrain.explorer.library import SampleSet
from posttrain.explorer.pages.course import course_of
from posttrain.explorer.site import Site
from posttrain.explorer.text import plain

PAGE = 1_000  # rows
MEANINGS = {
    "learned": "not solved at first, solved at the end",
    "forgotten": "solved once, not solved at the end",
    "flipping": "solved and lost again, twice or more often",
    "always": "solved wherever it was asked",
    "never": "solved nowhere",
}
Interval = tuple[float, float, float]


def map_page(site: Site, params: Mapping[str, str]) -> dict[str, Any]:
    """series, sort (one of SORTS), show (one of TAGS), page. DataError for an unknown one."""
    series = site.series(params.get("series"))
    board = site.board(series)
    sort, show = _choice(params, "sort", SORTS, "asked"), _choice(params, "show", TAGS, "")
    rows = chosen(board, sort, show)
    at = max(1, _number(params.get("page"))) - 1
    questions = site.questions(series)
    columns = [column(site, s) for s in series.sets]
    ranks = {name: np.argsort(board.order(name)) for name in SORTS}
    shown = [int(r) for r in rows[at * PAGE : (at + 1) * PAGE]]
    cells = dict(zip(shown, cells_of(board.share[shown]), strict=True))
    return {
        "series": series,
        "all_series": list(site.library.series().values()),
        "columns": columns,
        "course": course_of(site, series),
        "strip": accuracy_strip([c["interval"] for c in columns]),
        "sort": sort,
        "show": show,
        "sorts": SORTS,
        "meanings": MEANINGS,
        "counts": {tag: sum(tag in t for t in board.tags) for tag in TAGS},
        "total": len(board.problems),
        "found": len(rows),
        "page": at + 1,
        "pages": max(1, -(-len(rows) // PAGE)),
        "rows": [
            {
                "problem": board.problems[i],
                "name": plain(board.problems[i], 60),
                "question": plain(questions.get(board.problems[i], ""), 180),
                "cells": cells[i],
                "first": _short(columns[int(board.first[i])]) if board.first[i] < len(columns) else "–",
                "flips": int(board.flips[i]),
                "mean": f"{100 * board.mean[i]:.0f}" if not np.isnan(board.mean[i]) else "–",
                "tags": " ".join(sorted(board.tags[i])),
                "ranks": {name: int(ranks[name][i]) for name in SORTS} if site.static else {},
            }
            for i in shown
        ],
    }


def chosen(board: Board, sort: str, show: str) -> NDArray[np.int64]:
    """Rows of the map in their order, those of one tag only where `show` names one."""
    order = board.order(sort)
    if not show:
        return order
    keep = np.array([show in t for t in board.tags], dtype=bool)
    return np.asarray(order[keep[order]])


def cells_of(shares: NDArray[np.float64]) -> list[Markup]:
    """The cells of rows [n, c]: no class (not asked), c0 (none right) to c4 (all right)."""
    share = np.nan_to_num(shares, nan=-1.0)
    levels = np.where(share < 0, 5, np.where(share == 0, 0, np.where(share >= 1, 4, np.clip(np.ceil(share * 4), 1, 3))))
    signs = np.array(
        ["<i class=c0></i>", "<i class=c1></i>", "<i class=c2></i>", "<i class=c3></i>", "<i class=c4></i>", "<i></i>"]
    )
    return [Markup("".join(row)) for row in signs[levels.astype(int)].tolist()]


def column(site: Site, found: SampleSet) -> dict[str, Any]:
    """One checkpoint's score with what must stand beside it."""
    counted = site.tally(found)
    return {
        "set": found.name,
        "label": plain(found.label, 60),
        "step": found.step,
        "n": len(counted.problems),
        "samples": _per_problem(counted),
        "interval": interval_of(site, found),
        "truncated": counted.truncated / max(counted.graded, 1),
        "unparsed": counted.unparsed / max(counted.graded, 1),
        "undecided": counted.undecided / max(counted.graded, 1),
    }


def interval_of(site: Site, found: SampleSet) -> Interval | None:
    """Accuracy with its interval: the evaluation's own, or counted."""
    entry = found.entry or {}
    value, ends = entry.get("accuracy"), entry.get("interval")
    if isinstance(value, int | float) and isinstance(ends, list) and len(ends) == 2:
        return float(value), float(ends[0]), float(ends[1])
    made = site.remember(("estimate", found.name, found.stamp), lambda: site.tally(found).estimate())
    return (made.value, made.low, made.high) if made is not None else None


def neighbours(board: Board, problem: str, sort: str, show: str) -> tuple[int, int, str | None, str | None]:
    """(place from 1, of how many, the problem before, the one after) in the map's order."""
    rows = chosen(board, sort, show)
    names = [board.problems[int(i)] for i in rows]
    if problem not in names:
        names = [board.problems[int(i)] for i in board.order(sort)]
    at = names.index(problem)
    return (
        at + 1,
        len(names),
        names[at - 1] if at > 0 else None,
        names[at + 1] if at + 1 < len(names) else None,
    )


def _short(column: Mapping[str, Any]) -> str:
    """A checkpoint in a narrow column: its step, where it has one."""
    return f"{column['step']:,}" if column["step"] is not None else str(column["label"])


def _per_problem(counted: Tally) -> int:
    return int(counted.total.max()) if counted.total.size else 0


def _choice(params: Mapping[str, str], key: str, known: Mapping[str, str] | tuple[str, ...], default: str) -> str:
    value = params.get(key) or default
    if value != default and value not in known:
        raise DataError(f"There is no {key} {plain(value, 40)!r}. Known: {', '.join(known)}.")
    return value


def _number(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 9 else 0
