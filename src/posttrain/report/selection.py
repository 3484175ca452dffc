"""How the training data was chosen: the steps of every curation behind the scores, with what each kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from posttrain.curate.ledger import CURATION
from posttrain.curate.page import read_curation
from posttrain.errors import DamagedError
from posttrain.report.lineage import Made
from posttrain.report.selections import facts, sentences
from posttrain.report.words import brief

SHOWN = 2  # reasons of single rows


@dataclass(frozen=True)
class Step:
    """One filter or selector. before, kept: rows; None where the curation is configured and not made. settings,
    reasons: in words."""

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
    """Every curation behind the scores. DamagedError for one that can't be read."""
    return [Selection(m.name, m.inputs, steps) for m in made if (steps := _steps(m))]


def _steps(m: Made) -> tuple[Step, ...]:
    path = m.path / CURATION
    if path.is_file():
        try:
            return tuple(_taken(step) for step in read_curation(m.path)["steps"])
        except (ValueError, KeyError, TypeError) as error:
            raise DamagedError(f"{path} can't be read ({error}). Put it back, or make {m.name} again.") from error
    if m.stage.startswith("curate") and m.manifest is not None:
        return tuple(_planned(step) for step in m.manifest.config.get("steps", ()))
    return ()


def _taken(step: Mapping[str, Any]) -> Step:
    """A step as curation.json has it."""
    notes = step["notes"]
    examples = dict.fromkeys(example["reason"] for example in step["examples"])
    told = [*sentences(notes), brief(facts(notes)), *(f"e.g. {reason}" for reason in list(examples)[:SHOWN])]
    return Step(
        name=step["name"],
        before=step["before"],
        kept=step["after"],
        settings=_settings(step["config"]),
        reasons="; ".join(filter(None, told)),
    )


def _planned(step: Mapping[str, Any]) -> Step:
    """A step as the recipe has it: its ledger doesn't stand beside the manifest."""
    return Step(str(step.get("filter") or step.get("select")), None, None, _settings(step), "")


def _settings(config: Mapping[str, Any]) -> str:
    return brief({k: v for k, v in config.items() if k not in ("filter", "select") and v is not None})
