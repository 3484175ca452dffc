"""The `report` stage: what the evaluations say, as report.json, report.html and report.md with plots."""

from __future__ import annotations

from typing import Any

from posttrain.errors import RecipeError
from posttrain.evals import read_answers
from posttrain.report.collect import by_benchmark, compare_all, model_entry
from posttrain.report.config import ReportConfig
from posttrain.stage import Workspace
from posttrain.store import Report, Scores


def report(config: ReportConfig, of: list[Scores], work: Workspace) -> Report:
    """Reads evaluations and what made their models; generates nothing and loads no model."""
    answers = list(read_answers(of))
    if not answers:
        raise RecipeError("the evaluations given to this report hold no scores. Evaluate at least one model.")
    found = by_benchmark(answers)
    comparisons = compare_all(found, config.comparisons, config.confidence)
    facts: dict[str, Any] = {
        "models": [model_entry(a) for models in found.values() for a in models.values()],
        "comparisons": [c.as_json() for c in comparisons],
    }
    work.write_json("report.json", facts)
    return Report(work.dir)
