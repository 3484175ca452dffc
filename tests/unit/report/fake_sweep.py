"""A finished sweep without any model: scripted answers of every checkpoint, and what a sweep says of them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.unit.report.fake_run import given, samples_of, write_scores

from posttrain.evals.analytics import profile
from posttrain.evals.analytics.profile import as_json
from posttrain.evals.metrics import judged
from posttrain.evals.sweep.says import course_of, says
from posttrain.store import Manifest, Scores, write_json


def make_sweep(
    run: Path,
    accuracies: Mapping[int, float],
    name: str = "sweep-rl",
    n: int = 60,
    share: float = 0.5,
    trained: str = "",
    **settings: Any,
) -> Scores:
    """`run`/NAME: step → accuracy, on data/test. trained: the stage of `run` whose checkpoints they are."""
    labels = {step: f"step-{step:06d}" for step in accuracies}
    answers = {labels[step]: samples_of(labels[step], accuracy, n) for step, accuracy in accuracies.items()}
    made = write_scores(run, answers, name, **settings)
    written = json.loads((made.path / "scores.json").read_text())
    for entry, step in zip(written["entries"], labels, strict=True):
        entry["step"] = step
    write_json(made.path / "scores.json", written)
    if trained:
        manifest = Manifest.read(made.path)
        assert manifest is not None
        dataclasses.replace(manifest, stage="sweep", inputs={"run": given(run, trained)}).write(made.path)
    tables = [judged(samples) for samples in answers.values()]
    items = [{"ids": list(t.items), "scores": t.scores.tolist(), "undecided": t.undecided_rate} for t in tables]
    course = course_of(list(answers), list(accuracies), items, 1)
    facts = {
        "version": 1,
        "run": "rl",
        "finished": True,
        "steps": [{"label": label, "step": step, "weights": label} for step, label in labels.items()],
        "benchmarks": [{"name": "data/test", "slug": "data-test", "n": n, "samples_per_item": 1, "graded": True}],
        "says": {"data/test": says(course, share)},
    }
    write_json(made.path / "sweep.json", facts)
    write_json(
        made.path / "analytics.json",
        {"data/test": as_json(list(accuracies), [profile(samples) for samples in answers.values()])},
    )
    return made
