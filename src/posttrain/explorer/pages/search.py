"""Search: full text over every sample, and SQL over the Parquet files."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from posttrain.errors import MissingExtraError
from posttrain.explorer import sql
from posttrain.explorer.index import Hits
from posttrain.explorer.pages.problem import facts_of
from posttrain.explorer.reading import Row
from posttrain.explorer.site import Site
from posttrain.explorer.terms import Query, excerpt, parse
from posttrain.explorer.text import paint, plain

PAGE = 50
FILTERS = {"vright": "right", "vwrong": "wrong", "vopen": "undecided"}


def search_page(site: Site, params: Mapping[str, str]) -> dict[str, Any]:
    """q: words; series, verdict: where to look; page."""
    typed = params.get("q", "")[:500]
    query = parse(typed)
    series = params.get("series") or ""
    names = [s.name for s in site.series(series).sets] if series else None
    verdict = params.get("verdict") if params.get("verdict") in FILTERS else None
    page = int(params["page"]) if params.get("page", "").isdigit() and len(params["page"]) < 5 else 1
    began = time.perf_counter()
    hits = site.index.search(query.match, names, verdict, PAGE, PAGE * (page - 1)) if query.match else None
    questions = site.index.questions(query.match) if query.match and page == 1 else []
    seconds = time.perf_counter() - began
    known = site.library.sets()
    by_set = {s.name: one.name for one in site.library.series().values() for s in one.sets}
    return {
        "q": typed,
        "series": series,
        "all_series": list(site.library.series().values()),
        "verdict": verdict or "",
        "filters": FILTERS,
        "understood": bool(query.match),
        "hits": [
            _hit(site, name, row, query, by_set[name], known[name].label) for name, row in hits.docs if name in by_set
        ]
        if hits
        else [],
        "count": _count(hits) if hits else "",
        "late": bool(hits and hits.late),
        "seconds": f"{seconds:.2f}",
        "questions": _questions(site, query, questions),
        "page": page,
        "more": bool(hits and hits.count > PAGE * page),
        "progress": site.keeper.progress() if site.keeper else site.index.progress(list(known.values())),
    }


def _count(hits: Hits) -> str:
    if hits.capped:
        return f"more than {hits.count:,} samples"
    return f"{hits.count:,} sample{'' if hits.count == 1 else 's'}"


def _hit(site: Site, name: str, row: Row, query: Query, series: str, label: str) -> dict[str, Any]:
    return {
        **facts_of(row),
        "label": plain(label, 60),
        "set": plain(name, 80),
        "problem": plain(row.problem, 60),
        "excerpt": excerpt(row.response, query),
        "href": site.to("problem", series=series, problem=row.problem, sample=row.index or None),
        "at": name,
    }


def _questions(site: Site, query: Query, found: list[tuple[str, str, str | None]]) -> list[dict[str, Any]]:
    """Problems whose question matches, each linked to the first series that asked it."""
    listed: list[dict[str, Any]] = []
    for problem, question, gold in found:
        series = next((s for s in site.library.series().values() if problem in site.questions(s)), None)
        if series is not None:
            listed.append(
                {
                    "name": plain(problem, 60),
                    "excerpt": excerpt(question, query),
                    "gold": plain(gold, 60) if gold is not None else None,
                    "href": site.to("problem", series=series.name, problem=problem),
                }
            )
    return listed


def sql_page(site: Site, params: Mapping[str, str]) -> dict[str, Any]:
    """sql: one SELECT over `samples` and `files`."""
    statement = params.get("sql", "").replace("\r\n", "\n")
    answer, seconds = None, 0.0
    if statement.strip():
        began = time.perf_counter()
        try:
            answer = sql.ask(statement, list(site.library.sets().values()), start=site.spare.take)
        except MissingExtraError as error:
            answer = sql.Answer(error=str(error))
        seconds = time.perf_counter() - began
    return {
        "sql": statement,
        "answer": answer,
        "header": [plain(c, 80) for c in answer.columns] if answer else [],
        "error": paint(answer.error, limit=2_000) if answer and answer.error else "",
        "cells": [[_cell(v) for v in row] for row in answer.rows] if answer else [],
        "seconds": f"{seconds:.2f}",
        "examples": sql.EXAMPLES,
        "limit": sql.ROWS,
    }


def _cell(value: Any) -> str | Markup:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.6g}".replace("-", "−")
    if isinstance(value, int):
        return str(value)
    return paint(str(value), limit=2_000)
