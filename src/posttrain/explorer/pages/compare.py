"""Compare: two checkpoints on the same problems, with the verdict of the statistics and what was won and lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from posttrain.errors import DataError
from posttrain.evals import Answers
from posttrain.evals import compare as compare_answers
from posttrain.explorer.charts import histogram, parts_chart, span_bar
from posttrain.explorer.library import SampleSet
from posttrain.explorer.pages.map import column
from posttrain.explorer.reading import Row, rows
from posttrain.explorer.site import Site
from posttrain.explorer.text import plain
from posttrain.report.words import sentence, tone

LISTED = 200  # problems of each list


@dataclass(frozen=True)
class Side:
    """One set, read for comparing: the share of right samples by problem, lengths in tokens, its answers."""

    found: SampleSet
    shares: dict[str, float]
    lengths: list[int]
    extracted: dict[str, str]
    answers: Answers


@dataclass(frozen=True)
class Outcome:
    """result: as in report.json; None where the two must not be compared, and `refused` says why."""

    a: Side
    b: Side
    result: dict[str, Any] | None
    refused: str


def compare_page(site: Site, params: Mapping[str, str]) -> dict[str, Any]:
    """a, b: names of sets; the first and the last of the main series where nothing is said."""
    choices = [s for s in site.library.series().values() if s.kind in ("answers", "validation", "traces")]
    first, second = _pair(site, params)
    found = site.remember(
        ("compare", first.name, first.stamp, second.name, second.stamp), lambda: _compare(first, second)
    )
    result = found.result
    lists = _lists(site, found)
    return {
        "choices": choices,
        "a": _card(site, first),
        "b": _card(site, second),
        "refused": plain(found.refused, 600),
        "headline": sentence(result) if result else "",
        "tone": tone(result["verdict"]) if result else "unsure",
        "result": result,
        "parts": parts_chart(sorted(result["parts"].items(), key=lambda kv: -abs(kv[1])))
        if result and result["parts"] is not None
        else None,
        "lengths": histogram(found.a.lengths, found.b.lengths),
        "mean_lengths": [sum(s.lengths) / len(s.lengths) if s.lengths else None for s in (found.a, found.b)],
        **lists,
    }


def _pair(site: Site, params: Mapping[str, str]) -> tuple[SampleSet, SampleSet]:
    if params.get("a") and params.get("b"):
        return site.set(params["a"]), site.set(params["b"])
    series = site.series(None)
    if len(series.sets) < 2:
        raise DataError("Comparing needs two sets of answers, and there is one. Evaluate another checkpoint.")
    return series.sets[0], series.sets[-1]


def _card(site: Site, found: SampleSet) -> dict[str, Any]:
    told = column(site, found)
    interval = told["interval"]
    return {
        **told,
        "title": plain(f"{found.artifact}: {found.benchmark}", 100),
        "bar": span_bar(*interval) if interval else None,
    }


def _compare(first: SampleSet, second: SampleSet) -> Outcome:
    a, b = _side(first), _side(second)
    try:
        result = compare_answers(a.answers, b.answers).as_json()
    except DataError as error:
        return Outcome(a, b, None, str(error))
    return Outcome(a, b, result, "")


def _side(found: SampleSet) -> Side:
    read = list(rows(found))
    groups: dict[str, list[Row]] = {}
    for row in read:
        groups.setdefault(row.problem, []).append(row)
    answered = {
        problem: next((r.verdict.extracted or "–" for r in group if r.verdict), "–")
        for problem, group in groups.items()
    }
    return Side(
        found,
        {problem: _share(group) for problem, group in groups.items()},
        [row.tokens for row in read if row.tokens is not None],
        answered,
        Answers(_entry(found), [row.sample() for row in read]),
    )


def _entry(found: SampleSet) -> dict[str, Any]:
    """Of scores.json; where there is none (validation, an evaluation that runs), what is asked is the artifact's."""
    if found.entry is not None and "settings" in found.entry:
        return {**found.entry, "model": found.label}
    asked = f"{found.artifact}/{found.benchmark}"
    return {
        "model": found.label,
        "benchmark": found.benchmark,
        "fingerprint": asked,
        "settings": {"benchmark": asked, "grading": "gsm8k"},
    }


def _share(group: Sequence[Row]) -> float:
    return sum(r.verdict is not None and r.verdict.correct is True for r in group) / len(group)


def _lists(site: Site, found: Outcome) -> dict[str, Any]:
    """Problems that b won and lost, largest difference first, and how many both solved or neither."""
    a, b = found.a.shares, found.b.shares
    shared = [p for p in b if p in a]
    moved = sorted(((b[p] - a[p], p) for p in shared if a[p] != b[p]), key=lambda pair: -abs(pair[0]))
    series = site.series_of(found.b.found)
    questions = site.questions(series)

    def listed(sign: int) -> list[dict[str, Any]]:
        return [
            {
                "problem": p,
                "name": plain(p, 60),
                "question": plain(questions.get(p, ""), 160),
                "difference": f"{100 * d:+.0f}".replace("-", "−"),
                "a": plain(found.a.extracted[p], 40),
                "b": plain(found.b.extracted[p], 40),
                "href": site.to("problem", series=series.name, problem=p, against=found.a.found.name)
                or site.to("problem", series=series.name, problem=p),
            }
            for d, p in moved
            if d * sign > 0
        ][:LISTED]

    won, lost = sum(d > 0 for d, _ in moved), sum(d < 0 for d, _ in moved)
    return {
        "shared": len(shared),
        "only_a": len(a) - len(shared),
        "only_b": len(b) - len(shared),
        "won": won,
        "lost": lost,
        "both": sum(a[p] == b[p] == 1 for p in shared),
        "neither": sum(a[p] == b[p] == 0 for p in shared),
        "won_list": listed(1),
        "lost_list": listed(-1),
        "listed": LISTED,
    }
