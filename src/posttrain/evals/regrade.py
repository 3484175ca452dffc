"""The `regrade` stage: new verdicts and scores from stored generations. Nothing is generated."""

from __future__ import annotations

import shutil
from typing import Any

from posttrain.config import Config
from posttrain.evals.answering import graded
from posttrain.evals.external.environment import PROGRAMS
from posttrain.evals.forecast import SAMPLE_SECONDS
from posttrain.evals.metrics import measure
from posttrain.evals.store import read_answers
from posttrain.records import Problem, Sample, samples_to_tables
from posttrain.stage import Workspace
from posttrain.store import Scores, fingerprint, write_json


class RegradeConfig(Config):
    """Settings of the `regrade` stage."""

    grading: str | None = None
    """A grading spec; None = each benchmark's own, with the grader of today."""


def regrade(config: RegradeConfig, of: Scores, work: Workspace) -> Scores:
    """Grades the samples of an evaluation again, into an evaluation of its own; the generations are copied as they are.

    Another spec is another measurement: it changes the fingerprint, so the new scores compare only with such.
    """
    entries = []
    for answers in read_answers([of]):
        settings = dict(answers.entry["settings"])
        settings["grading"] = config.grading or settings["grading"]
        if settings["grading"] in PROGRAMS:
            samples = list(answers.samples)  # another suite's verdicts stand until one of our gradings is named
        else:
            samples = [graded(s, problem_of(s), settings["grading"]) for s in answers.samples]
        folder = answers.entry["folder"]
        (work.dir / folder).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(of.path / folder / "samples.parquet", work.dir / folder / "samples.parquet")
        work.write_table(f"{folder}/verdicts.parquet", samples_to_tables(samples)[1])
        changed = sum(x.verdict != y.verdict for x, y in zip(answers.samples, samples, strict=True))
        work.note(f"{answers.model} on {answers.benchmark}: {changed:,} of {len(samples):,} verdicts changed")
        entries.append(
            {**answers.entry, **measure(samples), "settings": settings, "fingerprint": fingerprint(settings)}
        )
    for entry in of.read().get("ungraded", ()):
        shutil.copytree(of.path / entry["folder"], work.dir / entry["folder"], dirs_exist_ok=True)
    write_json(work.dir / "scores.json", {**of.read(), "entries": entries})
    work.summarise(**{f"{e['model']} on {e['benchmark']}": round(e["accuracy"], 4) for e in entries})
    return Scores(work.dir)


def _forecast(config: RegradeConfig, inputs: dict[str, Any]) -> dict[str, Any]:
    """A sample takes about half a millisecond and is copied; a hard mathematical answer can take a second."""
    samples = inputs["of"].facts.get("samples")
    if samples is None:
        return {"dollars": 0.0, "makes": {}}
    return {
        "seconds": 1.0 + SAMPLE_SECONDS * samples,
        "memory_bytes": 2e8 + 4000 * samples,
        "disk_bytes": 200 * samples,
        "dollars": 0.0,
        "makes": {"samples": samples},
    }


regrade.forecast = _forecast  # type: ignore[attr-defined]


def problem_of(sample: Sample) -> Problem:
    """What a grader needs of the problem, from the sample itself."""
    choices = sample.extra.get("choices")
    return Problem(
        sample.problem_id,
        sample.question,
        sample.gold,
        choices=tuple(choices) if choices else None,
        split=sample.split or "",
        extra=sample.extra,
    )
