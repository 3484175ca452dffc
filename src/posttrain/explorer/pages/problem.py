"""A problem: its traces at every checkpoint side by side, each against the one before."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from posttrain.errors import DataError
from posttrain.explorer.board import SORTS, TAGS
from posttrain.explorer.library import SampleSet, Series
from posttrain.explorer.pages.map import neighbours
from posttrain.explorer.reading import Row
from posttrain.explorer.site import Site
from posttrain.explorer.text import LONGEST, paint, plain, reflections
from posttrain.explorer.tokens import ENTROPY, SURPRISE, Vocabulary, advantage_class, levels, spans, vocabulary_of
from posttrain.explorer.words import difference

TEXT = 200_000  # characters of all responses of a page
LEAST = 3_000  # ... of which every one gets this many
OTHERS = 1_200  # characters of the group's other samples
GROUP = 32  # other samples of a group that are listed
COLOURS = {"entropy": "entropy", "logprob": "log-probability", "advantage": "advantage"}


@dataclass(frozen=True)
class Chosen:
    """One column: the set, its samples of this problem, and the one that is shown whole."""

    found: SampleSet
    group: Sequence[Row]
    row: Row


def problem_page(site: Site, params: Mapping[str, str]) -> dict[str, Any]:
    """series, problem, sample (index within the group), against (previous, first, or a set's name), sort, show."""
    series = site.series(params.get("series"))
    problem = params.get("problem") or ""
    board = site.board(series)
    if problem not in board.problems:
        raise DataError(f"Series {plain(series.name)} has no problem {plain(problem)!r}. The map lists those it has.")
    sample = int(params["sample"]) if params.get("sample", "").isdigit() and len(params["sample"]) < 9 else 0
    sort = params.get("sort") if params.get("sort") in SORTS else "asked"
    show = params.get("show") if params.get("show") in TAGS else ""
    place, total, before, after = neighbours(board, problem, sort or "asked", show or "")
    columns = _columns(site, series, problem, sample)
    limit = max(LEAST, min(LONGEST, TEXT // max(len(columns), 1)))
    against = params.get("against") or "previous"
    views = [_view(site, series, c, _other(columns, i, against), limit) for i, c in enumerate(columns)]
    first = columns[0].row if columns else None
    colours = {k: label for k, label in COLOURS.items() if any(k in v["colours"] for v in views)}
    return {
        "series": series,
        "problem": problem,
        "name": plain(problem, 120),
        "question": paint(first.question) if first else Markup(""),
        "gold": plain(first.gold, 400) if first and first.gold is not None else None,
        "place": place,
        "of": total,
        "before": before,
        "after": after,
        "sort": sort if sort != "asked" else None,
        "show": show or None,
        "sample": sample,
        "samples": sorted({r.index for c in columns for r in c.group})[:GROUP],
        "against": against,
        "columns": views,
        "colours": colours,
        "limit": limit,
        "legends": {"entropy": ENTROPY, "logprob": tuple(round(s, 2) for s in SURPRISE)},
    }


def _columns(site: Site, series: Series, problem: str, sample: int) -> list[Chosen]:
    found = site.answers(series.sets, problem)
    chosen = []
    for one in series.sets:
        group = sorted(found.get(one.name, ()), key=lambda r: r.index)
        if group:
            chosen.append(Chosen(one, group, next((r for r in group if r.index == sample), group[0])))
    return chosen


def _other(columns: Sequence[Chosen], at: int, against: str) -> Chosen | None:
    """The column that column `at` is compared with."""
    if against == "previous":
        return columns[at - 1] if at else None
    if against == "first":
        return columns[0] if at else None
    return next((c for i, c in enumerate(columns) if c.found.name == against and i != at), None)


def _view(site: Site, series: Series, column: Chosen, other: Chosen | None, limit: int) -> dict[str, Any]:
    row = column.row
    text = row.response[:limit]
    layers, colours = _coloured(site, column.found, row)
    changed = difference(other.row.response[:limit], text) if other is not None else None
    gone = changed.gone if changed is not None else ()
    if other is not None and len(other.row.response) > limit and gone and gone[-1][0] >= len(text):
        gone = gone[:-1]  # what was cut off is not known to be gone
    body = paint(text, [*layers, reflections(text), changed.new if changed else ()], gone, limit)
    return {
        "set": column.found.name,
        "label": plain(column.found.label, 60),
        "step": column.found.step,
        "right": sum(r.verdict is not None and r.verdict.correct is True for r in column.group),
        "of": len(column.group),
        "level": _level(column.group),
        "against": plain(other.found.label, 60) if other is not None else None,
        "same": changed is not None and not changed.new and not changed.gone,
        "body": body,
        "cut": max(0, len(row.response) - limit),
        "raw": site.to("raw", set=column.found.name, problem=row.problem, sample=row.index),
        "advantage_class": advantage_class(row.advantage),
        "colours": colours,
        "reflections": len(reflections(text)),
        **facts_of(row),
        "others": [
            {
                **facts_of(r),
                "body": paint(r.response, [reflections(r.response, OTHERS)], limit=OTHERS),
                "more": len(r.response) > OTHERS,
                "href": site.to("problem", series=series.name, problem=r.problem, sample=r.index),
            }
            for r in column.group[: GROUP + 1]
            if r.index != row.index
        ],
    }


def facts_of(row: Row) -> dict[str, Any]:
    """A sample's verdict and numbers, in words."""
    verdict = row.verdict
    tone = "none" if verdict is None else {True: "good", False: "bad", None: "unsure"}[verdict.correct]
    word = {"good": "right", "bad": "wrong", "unsure": "undecided", "none": "not graded"}[tone]
    return {
        "index": row.index,
        "tone": tone,
        "word": word,
        "reason": plain(verdict.reason, 60) if verdict and verdict.reason not in ("correct", "wrong") else "",
        "extracted": plain(verdict.extracted, 200) if verdict and verdict.extracted is not None else None,
        "tokens": row.tokens,
        "truncated": row.finish == "length",
        "reward": f"{row.reward:.3g}" if row.reward is not None else None,
        "advantage": f"{row.advantage:+.2f}".replace("-", "−") if row.advantage is not None else None,
        "characters": len(row.response),
    }


def _level(group: Sequence[Row]) -> str:
    graded = [r.verdict.correct is True for r in group if r.verdict is not None]
    if not graded:
        return "x"
    share = sum(graded) / len(graded)
    return "c0" if share == 0 else "c4" if share == 1 else f"c{min(3, math.ceil(4 * share))}"


def _coloured(site: Site, found: SampleSet, row: Row) -> tuple[list[Sequence[tuple[int, int, str]]], list[str]]:
    """Layers of token colours, and the names of those that this sample has."""
    colours = ["advantage"] if row.advantage is not None else []
    if row.token_ids is None or (row.logprobs is None and row.entropy is None):
        return [], colours
    vocabulary = _vocabulary(site, found)
    pieces = vocabulary.pieces(row.token_ids.tolist()) if vocabulary is not None else None
    ranges = spans(pieces, row.response) if pieces is not None else None
    if ranges is None:
        return [], colours
    layers: list[Sequence[tuple[int, int, str]]] = []
    if row.entropy is not None:
        layers.append(levels(ranges, row.entropy, ENTROPY, "e"))
        colours.append("entropy")
    if row.logprobs is not None:
        layers.append(levels(ranges, -row.logprobs, SURPRISE, "p"))
        colours.append("logprob")
    return layers, colours


def _vocabulary(site: Site, found: SampleSet) -> Vocabulary | None:
    """The tokenizer of the artifact itself, of the model that answered, or of the nearest artifact that keeps one."""
    artifacts = site.library.artifacts()
    model = found.label.partition("@")[0]
    names = [found.artifact, model, f"{found.artifact.rpartition('/')[0]}/{model}", *artifacts]
    for name in names:
        if name in artifacts and (made := vocabulary_of(artifacts[name].path)) is not None:
            return made
    return None
