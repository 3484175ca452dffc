"""Judges in a report: what they say of each model, over checkpoints, and what each judge is worth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from posttrain.evals.table import percent
from posttrain.judge import read_summary
from posttrain.report.curves import Panel, Series
from posttrain.report.tables import Table, money
from posttrain.report.words import mean, rate
from posttrain.store import Judgements

Entry = Mapping[str, Any]
Point = tuple[int, float | None, Sequence[float] | None]  # step, value, interval
SCRIPTED = "scripted"
# task → what its rate is called, in tables and charts
RATES = {
    "correctness": "judged correct",
    "safety": "judged safe",
    "preference": "preferred",
    "win_rate": "win rate",
}
TITLES = {**{task: name.capitalize() for task, name in RATES.items()}, "quality": "Quality of the reasoning, 1 to 5"}


@dataclass(frozen=True)
class Judged:
    """One judge stage. says: sentences on the judge and its replies. tables, panels: one per task and problem set."""

    name: str
    judge: str
    says: tuple[str, ...]
    agreement: Table | None
    tables: tuple[Table, ...]
    panels: tuple[Panel, ...]
    facts: dict[str, Any]


def read_judged(judged: Sequence[Judgements]) -> list[Judged]:
    """StoreError for a stage without judge.json."""
    return [_judged(one.label, read_summary(one.path)) for one in judged]


def _judged(name: str, summary: dict[str, Any]) -> Judged:
    groups: dict[tuple[str, str, str | None], list[Entry]] = {}
    for entry in summary["entries"]:
        groups.setdefault((entry["task"], entry["benchmark"], entry.get("other")), []).append(entry)
    return Judged(
        name=name,
        judge=str(summary["judge"]),
        says=tuple(_sentences(summary)),
        agreement=_agreement(summary),
        tables=tuple(_table(*group, entries) for group, entries in groups.items()),
        panels=tuple(panel for group, entries in groups.items() for panel in _panels(*group, entries)),
        facts={key: value for key, value in summary.items() if key != "version"},
    )


def _sentences(summary: Mapping[str, Any]) -> Iterator[str]:
    unread = {name: summary[name] for name in ("unparsed", "refused", "failed") if summary[name]}
    lost = ", ".join(f"{count:,} {name}" for name, count in unread.items())
    yield (
        f"{summary['asked']:,} questions; {summary['asked_again']:,} were asked once more because the reply could not "
        f"be read; without a result in the end: {lost or 'none'}. Paid: {money(summary['dollars'])}."
    )
    if summary["judge"] == SCRIPTED:
        yield "The scripted judge is a set of rules: the least that a judge must beat, and no opinion."
    place = summary["position_bias"]
    if place is not None:
        yield (
            f"Of {place['pairs']:,} pairs shown in both orders, the answer in front was taken in "
            f"{rate(place['first'], place['interval'])}, and both orders agree in "
            f"{rate(place['consistent'], place['consistent_interval'])}."
        )
    length = summary["length_bias"]
    if length is not None:
        longer = rate(length["longer"], length["interval"])
        yield f"The longer of two answers was taken in {longer} of {length['n']:,} pairs."


def _agreement(summary: Mapping[str, Any]) -> Table | None:
    """The judge against the verifiable grader and against people; for yes and no with the four counts."""
    against = [("the verifiable grader", "correctness", summary["with_grader"])] if summary["with_grader"] else []
    against += [("people", str(one["task"]), one) for one in summary["with_people"]]
    if not against:
        return None
    rows = []
    for who, task, one in against:
        table = one["table"]
        counts = [f"{table[a][b]:,}" for a, b in ((1, 1), (0, 0), (0, 1), (1, 0))] if len(table) == 2 else ["–"] * 4
        weights = f" ({one['weights']} weights)" if one.get("weights") else ""
        kappa = mean(one["kappa"], one["interval"]) + (weights if one["kappa"] is not None else "")
        rows.append((who, task, f"{one['n']:,}", percent(one["agreement"]), kappa, *counts))
    header = ("the judge against", "task", "n", "agreement", "Cohen's kappa", "both yes", "both no", "only the judge")
    return Table(
        "",
        (*header, "only the other"),
        tuple(rows),
        words=(1,),
        note="Kappa is agreement beyond chance: 0 is none of it, 1 is all. A dash: both gave one and the same verdict "
        "to everything, or there are more than two.",
    )


def _table(task: str, benchmark: str, other: str | None, entries: Sequence[Entry]) -> Table:
    against = f" against {other}" if other is not None else ""
    title = f"{TITLES[task]}{against}, {benchmark}"
    if task == "quality":
        criteria = tuple(entries[0]["scores"])
        rated = [
            (*_whose(e), _mean(e["overall"]), *(_mean(e["scores"].get(c)) for c in criteria), *_lost(e))
            for e in entries
        ]
        header = ("model", "n", "overall", *criteria, "not read")
        return Table(title, header, tuple(rated), note=_intervals(entries))
    if task in ("preference", "win_rate"):
        length = any(e.get("length_controlled") for e in entries)
        header = ("model", "n", RATES[task], *(("length-controlled",) if length else ()), "won", "tied", "lost")
        rows = [_pairs_row(e, length) for e in entries]
        return Table(title, (*header, "first taken", "longer taken", "not read"), tuple(rows), note=_intervals(entries))
    kappa = any("with_grader" in e for e in entries)
    lost = any(e["judgements"] > e["ok"] for e in entries)
    bounds = ("if the rest were wrong to right",) if lost else ()
    header = ("model", "n", RATES[task], *bounds, *(("kappa with the grader",) if kappa else ()))
    rows = [
        (
            *_whose(e),
            rate(e["rate"], e["interval"]),
            *((f"{percent(e['bounds'][0])} to {percent(e['bounds'][1])}",) if lost else ()),
            *((_kappa(e.get("with_grader")),) if kappa else ()),
            *_lost(e),
        )
        for e in entries
    ]
    return Table(title, (*header, "not read"), tuple(rows), note=_intervals(entries))


def _intervals(entries: Sequence[Entry]) -> str:
    return f"Intervals at {100 * entries[0]['confidence']:g} %, over problems."


def _whose(entry: Entry) -> tuple[str, str]:
    return str(entry["model"]), f"{entry['n']:,}"


def _lost(entry: Entry) -> tuple[str]:
    return (f"{entry['judgements'] - entry['ok']:,} of {entry['judgements']:,}",)


def _mean(one: Entry | None) -> str:
    return mean(one["mean"], one["interval"]) if one is not None else "–"


def _kappa(one: Entry | None) -> str:
    return mean(one["kappa"], one["interval"]) if one is not None else "–"


def _pairs_row(e: Entry, length_controlled: bool) -> tuple[str, ...]:
    place, length = e["position_bias"], e["length_bias"]
    return (
        *_whose(e),
        rate(e["rate"], e["interval"]),
        *((_controlled(e),) if length_controlled else ()),
        *(f"{e[name]:,}" for name in ("wins", "ties", "losses")),
        percent(place["first"]) if place else "–",
        percent(length["longer"]) if length else "–",
        *_lost(e),
    )


def _controlled(e: Entry) -> str:
    told = e.get("length_controlled")
    return rate(told["win_rate"], (told["low"], told["high"])) if told else "–"


def _panels(task: str, benchmark: str, other: str | None, entries: Sequence[Entry]) -> Iterator[Panel]:
    """Where the models are checkpoints: what is said of them over steps, beside the grader's verdict on the same."""
    walks: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.get("step") is not None:
            walks.setdefault(str(entry["model"]).rpartition(":")[0], []).append(entry)
    walks = {name: sorted(w, key=lambda e: int(e["step"])) for name, w in walks.items() if len(w) > 1}
    against = f" against {other}" if other is not None else ""
    title = f"{TITLES[task]}{against}, {benchmark}"
    if task == "quality":
        for name, walk in walks.items():
            lines = [_line(c, [_point(e, e["scores"][c], "mean") for e in walk]) for c in walk[0]["scores"]]
            yield from _drawn(", ".join(filter(None, [title, name])), lines, False)
        return
    lines = []
    for name, walk in walks.items():
        lines.append(_line(f"{name} {RATES[task]}".strip(), [_point(e, e, "rate") for e in walk]))
        graded = [(e["step"], _graded(e["with_grader"]), None) for e in walk if "with_grader" in e]
        lines.append(_line(f"{name} graded correct".strip(), graded))
    yield from _drawn(title, lines, True)


def _drawn(title: str, lines: Sequence[Series], share: bool) -> Iterator[Panel]:
    """The panel of the lines that have more than one point."""
    drawn = tuple(line for line in lines if len(line.xs) > 1)
    if drawn:
        yield Panel(title, "step", drawn, share)


def _point(entry: Entry, told: Entry | None, value: str) -> Point:
    return entry["step"], told[value] if told else None, told["interval"] if told else None


def _graded(agreement: Entry) -> float:
    """The grader's accuracy on the answers that the judge was asked about."""
    return float(sum(agreement["table"][1]) / agreement["n"])


def _line(name: str, points: Sequence[Point]) -> Series:
    """Of the points at which there is a value; with the intervals where all of them have one."""
    known = [(step, value, interval) for step, value, interval in points if value is not None]
    intervals = [interval for *_, interval in known if interval is not None]
    whole = intervals if len(intervals) == len(known) else []
    return Series(
        name,
        tuple(float(step) for step, *_ in known),
        tuple(value for _, value, _ in known),
        tuple(interval[0] for interval in whole),
        tuple(interval[1] for interval in whole),
    )
