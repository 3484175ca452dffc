"""How the rows behind a model were chosen: the selectors' own facts, read from what their curation wrote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from posttrain.curate.page import read_curation, rule
from posttrain.report.lineage import Made

LONG = ("clusters", "groups", "pairs", "said", "warnings")  # notes that are tables or sentences, shown as such


def curations(model: str, made: Mapping[str, Made]) -> list[Made]:
    """The `curate` stages behind a model's data, the nearest first; `export` and the like stand between."""
    found: list[Made] = []
    open_names = list(made[model].inputs) if model in made else []
    while open_names:
        one = made[open_names.pop(0)]
        if one.stage == "curate":
            found.append(one)
        if one.manifest is not None and one.manifest.kind == "samples":
            open_names += one.inputs
    return found


def selection_of(model: str, made: Mapping[str, Made]) -> list[dict[str, Any]]:
    """The selectors of the nearest curation: rule, rows before and after, facts, sentences, clusters, groups."""
    nearest = curations(model, made)[:1]
    return [
        {
            "rule": rule(step),
            "before": step["before"],
            "after": step["after"],
            "facts": facts(step.get("notes") or {}),
            "said": sentences(step.get("notes") or {}),
            "clusters": (step.get("notes") or {}).get("clusters", []),
            "groups": (step.get("notes") or {}).get("groups", []),
        }
        for one in nearest
        for step in read_curation(one.path)["steps"]
        if step["verb"] == "select"
    ]


def facts(notes: Mapping[str, Any]) -> dict[str, Any]:
    """Notes that fit into a line."""
    return {k: v for k, v in notes.items() if k not in LONG and v not in (None, [], {})}


def sentences(notes: Mapping[str, Any]) -> list[str]:
    """What a step said of itself: warnings first."""
    return [*notes.get("warnings", []), *notes.get("said", [])]


def plain_lines(selections: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[tuple[str, str, Mapping[str, Any]]]:
    """(way, what it did, facts) for each selector of each way."""
    return [
        (way, f"{s['rule']} ({s['before']:,} → {s['after']:,} rows)", s["facts"])
        for way, several in selections.items()
        for s in several
    ]
