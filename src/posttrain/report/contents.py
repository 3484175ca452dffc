"""Everything a report says, gathered once and rendered as HTML, Markdown and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from posttrain.errors import RecipeError
from posttrain.evals import read_answers
from posttrain.report.collect import by_benchmark, compare_all, model_entry
from posttrain.report.config import ReportConfig
from posttrain.report.curves import Panel, StageCurves, learning_curve, stage_curves
from posttrain.report.examples import Example, choose_examples
from posttrain.report.lineage import Made, ancestry, certificate_lines, lineage_entry
from posttrain.report.words import sentence
from posttrain.store import Scores


@dataclass(frozen=True)
class Contents:
    """models, comparisons, refused: as in report.json. examples: by benchmark. made: inputs before their users."""

    title: str
    models: list[dict[str, Any]]
    comparisons: list[dict[str, Any]]
    refused: list[dict[str, Any]]
    headlines: list[str]
    settings: list[dict[str, Any]]
    examples: dict[str, list[Example]]
    certificate: list[dict[str, Any]]
    curves: list[StageCurves]
    learning: Panel | None
    made: list[Made]

    @property
    def benchmarks(self) -> list[str]:
        return list(dict.fromkeys(m["benchmark"] for m in self.models))

    def as_json(self) -> dict[str, Any]:
        """report.json: without times and paths, so that two equal runs give equal reports."""
        return {
            "title": self.title,
            "models": self.models,
            "comparisons": self.comparisons,
            "refused": self.refused,
            "headlines": self.headlines,
            "certificate": self.certificate,
            "settings": self.settings,
            "notes": [{"artifact": c.name, "note": n} for c in self.curves for n in c.notes],
            "lineage": [lineage_entry(m) for m in self.made],
        }


def gather(config: ReportConfig, of: Sequence[Scores], default_title: str) -> Contents:
    """Reads evaluations and everything behind them. RecipeError when they hold no scores."""
    answers = list(read_answers(of))
    if not answers:
        raise RecipeError("the evaluations given to this report hold no scores. Evaluate at least one model.")
    found = by_benchmark(answers)
    refused: list[dict[str, Any]] = []
    comparisons = [c.as_json() for c in compare_all(found, config.comparisons, config.confidence, refused)]
    made = ancestry(of)
    several = len(found) > 1
    settings = {a.entry["fingerprint"]: a.entry["settings"] for a in answers}
    return Contents(
        title=config.title or default_title,
        models=[model_entry(a) for models in found.values() for a in models.values()],
        comparisons=comparisons,
        refused=refused,
        headlines=[sentence(c, several_benchmarks=several) for c in comparisons],
        settings=[{"fingerprint": f, **s} for f, s in settings.items()],
        examples={name: choose_examples(models, config.examples) for name, models in found.items()},
        certificate=certificate_lines(made),
        curves=stage_curves(made),
        learning=learning_curve(made),
        made=made,
    )
