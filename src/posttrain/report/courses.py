"""Sweeps in a report: for every problem set the scores over checkpoints, what they say, and how the answers changed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from posttrain.evals import names_of
from posttrain.evals.analytics import SHARES
from posttrain.evals.sweep.store import Sweep, is_sweep, read_sweep
from posttrain.evals.sweep.words import best_in_words, trend_in_words
from posttrain.evals.table import p_value, percent, points
from posttrain.report.curves import Panel, Series
from posttrain.report.tables import Table
from posttrain.report.words import mean, rate
from posttrain.store import Scores

# (title, measures of analytics.json drawn together with their names for people, whether they are shares)
PANELS: tuple[tuple[str, dict[str, str], bool], ...] = (
    ("Tokens of an answer", {"tokens": "all", "tokens_correct": "correct", "tokens_wrong": "wrong"}, False),
    (
        "Words of reflection in an answer",
        {"check": "checking", "correct": "backtracking", "alternative": "another way"},
        False,
    ),
    ("Answers that …", {"reflects": "reflect", "changes_answer": "change their answer"}, True),
    ("Repetition", {"repetition": "4-grams said before", "loops": "ends in a loop"}, True),
    ("Truncated, other scripts", {"truncated": "truncated", "mixes_scripts": "other scripts"}, True),
    ("A problem's samples", {"agreement": "commonest answer", "calibration_error": "calibration error"}, True),
    ("Different answers to a problem", {"distinct_answers": "answers"}, False),
)


@dataclass(frozen=True)
class Course:
    """One sweep on one problem set.

    trend: the sentence on accuracy over steps, and its tone; None where nothing was graded, or only one checkpoint.
    says: further sentences. accuracy: its chart. scores, measures: tables, None where there is nothing to show.
    panels: charts of the measures. facts: all of it as in report.json.
    """

    sweep: str
    benchmark: str
    trend: tuple[str, str] | None
    says: tuple[str, ...]
    accuracy: Panel | None
    scores: Table | None
    panels: tuple[Panel, ...]
    measures: Table | None
    facts: dict[str, Any]

    @property
    def title(self) -> str:
        return f"{self.sweep} on {self.benchmark}"


def courses(of: Sequence[Scores]) -> list[Course]:
    """Every sweep among the evaluations, one problem set after the other. DataError where one can't be read."""
    found = []
    for one, name in zip(of, names_of(of), strict=True):
        if is_sweep(one.path):
            sweep = read_sweep(one.path)
            analytics = sweep.analytics()
            for benchmark in sweep.benchmarks:
                found.append(_course(name, sweep, benchmark, analytics.get(benchmark, {})))
    return found


def _course(name: str, sweep: Sweep, benchmark: str, analytics: Mapping[str, Any]) -> Course:
    said = sweep.facts["says"].get(benchmark)
    entries = [e for e in sweep.entries if e["benchmark"] == benchmark and "accuracy" in e]
    entries.sort(key=lambda e: int(e["step"]))
    series: Mapping[str, Any] = analytics.get("series", {})
    steps = analytics.get("steps", [])
    best = said["best"]["step"] if said and said["best"] else None
    return Course(
        sweep=name,
        benchmark=benchmark,
        trend=_trend(said, entries),
        says=tuple(_sentences(said)) if said else (),
        accuracy=_accuracy(entries, best),
        scores=_scores(entries, said, best) if entries else None,
        panels=tuple(measure_panels(steps, series)),
        measures=_measures(steps, series),
        facts={
            "sweep": name,
            "benchmark": benchmark,
            "steps": [_fact(e) for e in entries],
            "says": said,
            "analytics": dict(analytics),
        },
    )


def _fact(entry: Mapping[str, Any]) -> dict[str, Any]:
    names = ("step", "model", "accuracy", "interval", "n", "samples_per_item", "truncation_rate", "unparsed_rate")
    return {name: entry[name] for name in (*names, "undecided_rate", "mean_tokens")}


def _trend(said: Mapping[str, Any] | None, entries: Sequence[Mapping[str, Any]]) -> tuple[str, str] | None:
    if said is None or said["trend"] is None:
        return None
    refused = {r["label"] for r in said["refused"]}
    steps = [int(e["step"]) for e in entries if e["model"] not in refused]
    tone = {"rises": "good", "falls": "bad"}.get(said["trend"]["verdict"], "unsure")
    return trend_in_words(said["trend"], steps), tone


def _sentences(said: Mapping[str, Any]) -> Iterator[str]:
    if said["best"] is not None:
        yield f"{_capital(best_in_words(said['best']))}."
    solved = said["solved"]
    yield (
        f"{solved['ever']:,} problems were solved at some checkpoint and {solved['at_last']:,} at the last; "
        f"{solved['forgotten']:,} were forgotten. A problem changes {solved['flips_per_problem']:.1f} times on average."
    )
    for one in said["refused"]:
        yield f"{one['label']} is in no comparison: {one['reason']}."


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _accuracy(entries: Sequence[Mapping[str, Any]], best: int | None) -> Panel | None:
    if len(entries) < 2:
        return None
    line = Series(
        "Accuracy",
        tuple(float(e["step"]) for e in entries),
        tuple(e["accuracy"] for e in entries),
        tuple(e["interval"][0] for e in entries),
        tuple(e["interval"][1] for e in entries),
    )
    return Panel("Accuracy", "step", (line,), True, (float(best), "best step") if best is not None else None)


def _scores(entries: Sequence[Mapping[str, Any]], said: Mapping[str, Any] | None, best: int | None) -> Table:
    """One row per checkpoint, with the paired tests against the first and against the one before."""
    compared = {(c["a"], c["b"]): c for c in said["comparisons"]} if said else {}
    refused = {r["label"] for r in said["refused"]} if said else set()
    labels = [e["model"] for e in entries if e["model"] not in refused]
    undecided = any(e["undecided_rate"] > 0 for e in entries)
    rows = []
    for entry in entries:
        label = entry["model"]
        place = labels.index(label) if label in labels else 0
        first = compared.get((labels[0], label)) if place else None
        before = compared.get((labels[place - 1], label)) if place else None
        rows.append(
            (
                f"{entry['step']:,}" + (" (best)" if entry["step"] == best else ""),
                rate(entry["accuracy"], entry["interval"]),
                percent(entry["truncation_rate"]),
                percent(entry["unparsed_rate"]),
                *([percent(entry["undecided_rate"])] if undecided else []),
                f"{entry['mean_tokens']:.0f}" if entry["mean_tokens"] is not None else "–",
                *_difference(first),
                *_difference(before),
            )
        )
    n, k = entries[0]["n"], entries[0]["samples_per_item"]
    rates = ("truncated", "unparsed", *(["undecided"] if undecided else []), "tokens")
    asked = f"n = {n:,} problems" + (f", {k} samples of each" if k > 1 else "")
    return Table(
        "",
        ("step", "accuracy", *rates, "against the first", "p", "against the one before", "p"),
        tuple(rows),
        note=f"At every step {asked}. Differences in points, paired problem by problem; p by Holm over the table.",
    )


def _difference(c: Mapping[str, Any] | None) -> tuple[str, str]:
    if c is None:
        return "–", "–"
    low, high = c["interval"]
    p = p_value(c["p_adjusted"]).removeprefix("p ").removeprefix("= ")
    return f"{points(c['difference'])} [{points(low)}, {points(high)}]", p


def measure_panels(steps: Sequence[int], series: Mapping[str, Any]) -> Iterator[Panel]:
    """The measures of analytics.json as charts, those together that belong together."""
    for title, names, share in PANELS:
        lines = [_line(label, steps, series[name], share) for name, label in names.items() if name in series]
        drawn = tuple(line for line in lines if len(line.xs) > 1)
        if drawn:
            yield Panel(title, "step", drawn, share)


def _line(name: str, steps: Sequence[int], one: Mapping[str, Any], share: bool) -> Series:
    """A measure's course; steps at which it can't be told are left out."""
    courses = zip(steps, one["value"], one["low"], one["high"], strict=True)
    known = [tuple(map(float, one)) for one in courses if None not in one and all(map(math.isfinite, one))]
    top = 1.0 if share else float("inf")
    return Series(
        name,
        tuple(s for s, *_ in known),
        tuple(v for _, v, *_ in known),
        tuple(max(0.0, low) for *_, low, _ in known),
        tuple(min(top, high) for *_, high in known),
    )


def _measures(steps: Sequence[int], series: Mapping[str, Any]) -> Table | None:
    """Every measure at the first and at the last checkpoint."""
    if not series:
        return None
    ends = [0, -1] if len(steps) > 1 else [0]
    rows = tuple((one["means"], *(_value(name, one, at) for at in ends)) for name, one in series.items())
    header = ("", *(f"step {steps[at]:,}" for at in ends))
    return Table("", header, rows, note="Means over problems with 95 % intervals.")


def _value(name: str, one: Mapping[str, Any], at: int) -> str:
    interval = (one["low"][at], one["high"][at]) if one["low"][at] != one["high"][at] else None
    return rate(one["value"][at], interval) if name in SHARES else mean(one["value"][at], interval)
