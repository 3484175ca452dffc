"""Reading a curation back: its funnel and distributions as rows for a report, and one row's way through the steps."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from posttrain.curate.ledger import CURATION, LEDGER
from posttrain.errors import DataError, did_you_mean

SHORT = 160  # characters of a text in one line
OWN = ("keep", "score", "threshold", "reason")


def read_curation(folder: Path) -> dict[str, Any]:
    """What a `curate` stage wrote of itself. DataError where the folder is no such stage's."""
    path = folder / CURATION
    if not path.is_file():
        raise DataError(f"{folder} has no {CURATION}: no curate stage made it. Give the folder of one.")
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def funnel(curation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row per step: step, rule, rows before and after, dropped, its share, threshold."""
    return [
        {
            "step": step["label"],
            "rule": rule(step),
            "before": step["before"],
            "after": step["after"],
            "dropped": step["dropped"],
            "share": step["dropped"] / step["before"] if step["before"] else 0.0,
            "threshold": step["threshold"],
        }
        for step in curation["steps"]
    ]


def distributions(curation: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Per quantity (length, level, subject, dataset, a step's cluster) rows of value, before, after."""
    found = {}
    for name, counts in curation["distributions"].items():
        edges = counts.get("edges")
        values = counts["values"] if edges is None else _ranges(edges)
        rows = zip(values, counts["before"], counts["after"], strict=True)
        found[name] = [{"value": value, "before": before, "after": after} for value, before, after in rows]
    return found


def _ranges(edges: list[int]) -> list[str]:
    """``10 to 13`` for the whole numbers in [10, 14); the last range has its end."""
    ends = [*(high - 1 for high in edges[1:-1]), edges[-1]]
    return [f"{low:,}" if low >= end else f"{low:,} to {end:,}" for low, end in zip(edges[:-1], ends, strict=True)]


def rule(step: Mapping[str, Any]) -> str:
    """A step in one line, as one would write it: ``filter length  max 4096  unit tokens``."""
    values = {k: v for k, v in step["config"].items() if k != step["verb"] and v is not None}
    return f"{step['verb']} {step['name']}" + "".join(f"  {k} {_plain(v)}" for k, v in values.items())


def in_words(curation: Mapping[str, Any], *, examples: bool = False) -> Iterator[str]:
    """The funnel as lines for a person. examples: with what the steps noted, and a row that each filter dropped."""
    yield f"{curation['rows']:,} rows, {curation['kept']:,} kept"
    if curation["untouched"]:
        yield f"({curation['untouched']:,} rows of other splits passed untouched)"
    for row, step in zip(funnel(curation), curation["steps"], strict=True):
        counts = f"{row['before']:>9,} → {row['after']:>9,}  {row['share']:>6.1%} dropped"
        yield f"  {row['step']:<24} {counts}   {row['rule']}"
        if examples:
            yield from (f"  {'':<24} {line}" for line in noted(step))
    length = curation["distributions"]["length"]
    before, after = length["median"]
    yield f"  length in the middle: {before:,.0f} {length['unit']} before" + (f", {after:,.0f} after" if after else "")


def noted(step: Mapping[str, Any]) -> list[str]:
    """What a step found beside its counts, in lines: warnings, tiers, what was redistributed, a row that went."""
    notes = step["notes"]
    lines = [short(line) for line in (*notes.get("warnings", ()), *notes.get("said", ()))]
    if "tiers" in notes:
        lines.append("tiers: " + ", ".join(f"{tier} {count:,}" for tier, count in notes["tiers"].items()))
    if step["verb"] == "filter" and step["examples"]:
        gone = step["examples"][0]
        lines.append(f"e.g. row {gone['row']}: {short(gone['reason'])}")
    return lines


def explain(folder: Path, row: str) -> dict[str, Any]:
    """A row's way: what it is, and per step keep, score, threshold, reason, rule and whatever else the step says.

    row: its number in the ledger, or a problem's id (the first row of that problem). DataError for a row that is not
    there.
    """
    import pyarrow.parquet as pq

    curation = read_curation(folder)
    table = pq.read_table(folder / LEDGER)
    numbers, ids = table.column("row").to_pylist(), table.column("id").to_pylist()
    at = numbers.index(int(row)) if row.isdigit() and int(row) in set(numbers) else None
    if at is None:
        if row not in ids:
            raise DataError(
                f"{folder} has no row {row!r}.{did_you_mean(row, ids[:20_000])} Rows go from {min(numbers)} to "
                f"{max(numbers)}; a problem's id is understood too."
            )
        at = ids.index(row)
    found = table.slice(at, 1).to_pylist()[0]
    steps = []
    for step in curation["steps"]:
        prefix = f"{step['label']}."
        seen = {name.removeprefix(prefix): value for name, value in found.items() if name.startswith(prefix)}
        twin = seen.get("twin")
        if twin is not None and twin in set(numbers):
            seen["twin_text"] = table.column("question")[numbers.index(twin)].as_py()
        steps.append({"step": step["label"], "rule": rule(step), **seen})
    facts = (
        "row",
        "dataset",
        "id",
        "question",
        "response",
        "kept",
        "dropped_by",
        "reason",
        "length",
        "level",
        "subject",
    )
    return {**{name: found[name] for name in facts}, "steps": steps}


def explained_in_words(way: Mapping[str, Any]) -> Iterator[str]:
    """`explain` as lines for a person; control characters of the data stay out of the terminal."""
    fate = "kept" if way["kept"] else f"dropped by {way['dropped_by']}: {short(way['reason'])}"
    yield f"row {way['row']} ({short(way['id'])}, of {short(way['dataset'])}): {fate}"
    facts = [f"{name} {short(str(way[name]))}" for name in ("length", "level", "subject") if way[name] is not None]
    yield "  " + "  ".join(facts)
    yield f"  question: {short(way['question'])}"
    if way["response"]:
        yield f"  response: {short(way['response'])}"
    for step in way["steps"]:
        yield f"  {step['step']:<24} {_seen(step)}"
        yield f"  {'':<24} rule: {step['rule']}"
        for name, value in step.items():
            if name not in (*OWN, "step", "rule") and value is not None:
                yield f"  {'':<24} {name}: {short(str(value))}"


def _seen(step: Mapping[str, Any]) -> str:
    if step["keep"] is None:
        return "not reached"
    score = "no score" if step["score"] is None else f"score {step['score']:.6g}"
    threshold = "" if step["threshold"] is None else f", threshold {step['threshold']:.6g}"
    return f"{'kept' if step['keep'] else 'dropped'}  ({score}{threshold})" + (
        f"  {short(step['reason'])}" if step["reason"] else ""
    )


def short(text: str) -> str:
    """One line without control characters: the text is somebody's data."""
    plain = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return plain if len(plain) <= SHORT else plain[: SHORT - 1] + "…"


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(str, value)) + "]"
    return str(value).lower() if isinstance(value, bool) else str(value)
