"""Everything a report says, gathered once and rendered as HTML, Markdown and JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from posttrain.errors import RecipeError, did_you_mean
from posttrain.evals import Answers
from posttrain.report.analysis import analyse
from posttrain.report.answers import read_given
from posttrain.report.collect import by_benchmark, compare_all, model_entry
from posttrain.report.config import ReportConfig
from posttrain.report.costs import Costs, costs
from posttrain.report.courses import Course, courses
from posttrain.report.curves import Panel, StageCurves, learning_curve, stage_curves
from posttrain.report.examples import Example, choose_examples
from posttrain.report.hyperparameters import Hyperparameters, hyperparameters
from posttrain.report.judged import Judged, read_judged
from posttrain.report.lineage import Made, ancestry, certificate_lines, lineage_entry
from posttrain.report.published import load_published, published_beside
from posttrain.report.selection import Selection, selections
from posttrain.report.words import sentence
from posttrain.store import Judgements, Scores


@dataclass(frozen=True)
class Contents:
    """models, comparisons, refused, analysis, published: as in report.json. examples: by benchmark.

    baseline: the model that the others are measured against; None where nothing was graded. courses: of sweeps, by
    problem set. made: inputs before their users.
    """

    title: str
    baseline: str | None
    models: list[dict[str, Any]]
    comparisons: list[dict[str, Any]]
    refused: list[dict[str, Any]]
    headlines: list[str]
    analysis: list[dict[str, Any]]
    published: list[dict[str, Any]]
    settings: list[dict[str, Any]]
    examples: dict[str, list[Example]]
    courses: list[Course]
    judged: list[Judged]
    certificate: list[dict[str, Any]]
    curves: list[StageCurves]
    learning: Panel | None
    hyperparameters: Hyperparameters | None
    selections: list[Selection]
    costs: Costs
    made: list[Made]

    @property
    def benchmarks(self) -> list[str]:
        return list(dict.fromkeys(m["benchmark"] for m in self.models))

    @property
    def trends(self) -> list[str]:
        """What each sweep says of its accuracy over steps."""
        return [f"{c.title}: {c.trend[0]}." for c in self.courses if c.trend is not None]

    def of_fingerprint(self, fingerprint: str) -> list[dict[str, Any]]:
        """The entries of our models that were asked in one way."""
        return [m for m in self.models if m["fingerprint"] == fingerprint]

    def as_json(self) -> dict[str, Any]:
        """report.json: without times and paths, so that two equal runs give equal reports."""
        told = self.hyperparameters
        return {
            "title": self.title,
            "baseline": self.baseline,
            "models": self.models,
            "comparisons": self.comparisons,
            "refused": self.refused,
            "headlines": self.headlines,
            "analysis": self.analysis,
            "published": self.published,
            "hyperparameters": {}
            if told is None
            else {k: dict(zip(told.columns, v, strict=True)) for k, v in told.rows.items()},
            "selection": [asdict(s) for s in self.selections],
            "courses": [c.facts for c in self.courses],
            "judged": [{"name": j.name, **j.facts} for j in self.judged],
            "certificate": self.certificate,
            "settings": self.settings,
            "notes": [{"artifact": c.name, "note": n} for c in self.curves for n in c.notes],
            "lineage": [lineage_entry(m) for m in self.made],
        }


def gather(
    config: ReportConfig, of: Sequence[Scores], default_title: str, judged: Sequence[Judgements] = ()
) -> Contents:
    """Reads evaluations, sweeps, judgements of them, and everything behind. RecipeError when they hold no scores."""
    given = read_given(of, {name for pair in config.comparisons for name in pair} | {config.baseline or ""})
    answers, walked, opinions = given.answers, courses(of), read_judged(judged)
    if not (answers or walked or opinions):
        raise RecipeError("the evaluations given to this report hold no scores. Evaluate at least one model.")
    found = _baseline_first(by_benchmark(answers), config.baseline)
    refused: list[dict[str, Any]] = []
    comparisons = [c.as_json() for c in compare_all(found, config.comparisons, config.confidence, refused, given.walks)]
    made = ancestry([*of, *judged])
    several = len(found) > 1
    asked = {a.entry["fingerprint"]: a.entry["settings"] for a in answers}
    settings = [{"fingerprint": f, **s} for f, s in asked.items()]
    models = [model_entry(a) for models in found.values() for a in models.values()]
    return Contents(
        title=config.title or default_title,
        baseline=str(models[0]["name"]) if models else None,
        models=models,
        comparisons=comparisons,
        refused=refused,
        headlines=[sentence(c, several_benchmarks=several) for c in comparisons],
        analysis=analyse(models, comparisons),
        published=_published(config, models, settings, made),
        settings=settings,
        examples={name: choose_examples(models, config.examples) for name, models in found.items()},
        courses=walked,
        judged=opinions,
        certificate=certificate_lines(made),
        curves=stage_curves(made),
        learning=learning_curve(made),
        hyperparameters=hyperparameters(made),
        selections=selections(made),
        costs=costs(made, config.price),
        made=made,
    )


def _baseline_first(found: Mapping[str, Mapping[str, Answers]], baseline: str | None) -> dict[str, dict[str, Answers]]:
    """The models of each benchmark with the baseline in front. RecipeError where nobody evaluated it."""
    names = list(dict.fromkeys(name for models in found.values() for name in models))
    if baseline is not None and baseline not in names:
        raise RecipeError(
            f"baseline is {baseline!r}, which was not evaluated.{did_you_mean(baseline, names)} "
            f"Evaluated: {', '.join(names)}."
        )
    return {
        benchmark: {name: models[name] for name in sorted(models, key=lambda n: n != baseline)}
        for benchmark, models in found.items()
    }


def _published(
    config: ReportConfig,
    models: Sequence[Mapping[str, Any]],
    settings: Sequence[Mapping[str, Any]],
    made: Sequence[Made],
) -> list[dict[str, Any]]:
    if config.published is False:
        return []
    path = Path(config.published).expanduser() if isinstance(config.published, str) else None
    return published_beside(models, settings, made, load_published(path))
