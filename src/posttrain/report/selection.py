"""How the training data was chosen: the steps of every curation behind the scores, with what each kept."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from posttrain.errors import DamagedError
from posttrain.report.lineage import Made
from posttrain.report.words import brief

LEDGER = "curation.json"
SHOWN = 2  # reasons of single rows
# A ledger is read by these names, so that a page about it doesn't hang on one spelling.
NAMES = ("step", "name", "filter", "select")
BEFORE = ("before", "rows", "n", "in", "input")
KEPT = ("kept", "keep", "after", "out", "output")
REASONS = ("reasons", "by_reason")
AROUND = (
    *NAMES,
    *BEFORE,
    *KEPT,
    *REASONS,
    "kind",
    "label",
    "verb",
    "config",
    "dropped",
    "scored",
    "threshold",
    "seconds",
)


@dataclass(frozen=True)
class Step:
    """One filter or selector. before, kept: rows; None where the ledger doesn't say. settings, reasons: in words."""

    name: str
    before: int | None
    kept: int | None
    settings: str
    reasons: str


@dataclass(frozen=True)
class Selection:
    """One curation: its artifact, what it was made from, its steps in order."""

    artifact: str
    of: tuple[str, ...]
    steps: tuple[Step, ...]


def selections(made: Sequence[Made]) -> list[Selection]:
    """Every curation behind the scores. DamagedError for a ledger that is no JSON."""
    return [Selection(m.name, m.inputs, steps) for m in made if (steps := _steps(m))]


def _steps(m: Made) -> tuple[Step, ...]:
    path = m.path / LEDGER
    if path.is_file():
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise DamagedError(f"{path} can't be read ({error}). Put it back, or make {m.name} again.") from error
        listed = told.get("steps", []) if isinstance(told, dict) else told
        return tuple(_step(s) for s in listed if isinstance(s, Mapping))
    if m.stage.startswith("curate") and m.manifest is not None:
        return tuple(_step(s) for s in m.manifest.config.get("steps", ()) if isinstance(s, Mapping))
    return ()


def _step(facts: Mapping[str, Any]) -> Step:
    settings = dict(facts["config"]) if isinstance(facts.get("config"), Mapping) else {}
    settings |= {k: v for k, v in facts.items() if k not in AROUND and isinstance(v, str | int | float | bool)}
    if facts.get("threshold") is not None:
        settings["threshold"] = facts["threshold"]
    reasons: Mapping[str, Any] = next((facts[k] for k in REASONS if isinstance(facts.get(k), Mapping)), {})
    return Step(
        name=str(next((facts[k] for k in NAMES if facts.get(k)), "?")),
        before=_count(facts, BEFORE),
        kept=_count(facts, KEPT),
        settings=brief({k: v for k, v in settings.items() if v is not None}),
        reasons=brief(dict(reasons)) or _said(facts),
    )


def _said(facts: Mapping[str, Any]) -> str:
    """Where reasons are not counted: the step's own notes, and the reasons of the rows that it shows."""
    shown = facts.get("examples")
    examples = [str(e.get("reason")) for e in shown if isinstance(e, Mapping)] if isinstance(shown, list) else []
    notes = facts.get("notes")
    told = [brief(dict(notes))] if isinstance(notes, Mapping) and notes else []
    return "; ".join([*told, *(f"e.g. {reason}" for reason in list(dict.fromkeys(examples))[:SHOWN])])


def _count(facts: Mapping[str, Any], names: Sequence[str]) -> int | None:
    return next((facts[k] for k in names if isinstance(facts.get(k), int) and not isinstance(facts[k], bool)), None)
