"""Candidates graded by the board: every answer against its own golds, with the grading that the settings name."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posttrain.errors import DataError, PosttrainError
from posttrain.evals import measure
from posttrain.evals.metrics import judged
from posttrain.grading import SPECS, grade_many
from posttrain.leaderboard.golds import Golds
from posttrain.leaderboard.reading import Answer
from posttrain.leaderboard.sources import Candidate
from posttrain.leaderboard.text import clean
from posttrain.records import Problem, Sample, Verdict
from posttrain.store import fingerprint

RUN_PROGRAMS = ("code",)  # gradings that run what was submitted
BATCH = 512
SAME = 1e-9


@dataclass(frozen=True)
class Graded:
    """A candidate with the board's own numbers. scores: [n] in the order of sorted problem ids.

    measures: as in scores.json. digest: of the samples' file.
    """

    candidate: Candidate
    scores: NDArray[np.float64]
    measures: dict[str, Any]
    digest: str

    @property
    def differs(self) -> bool:
        """Whether the claim is not what the board found."""
        claim = self.candidate.claim
        return (
            not math.isclose(claim.accuracy, self.measures["accuracy"], abs_tol=SAME) or claim.n != self.measures["n"]
        )


@dataclass
class Regrader:
    """Grades candidates; verdicts of a file that was graded already are remembered."""

    golds: Golds
    programs: bool = False
    known: dict[tuple[str, str], tuple[NDArray[np.float64], dict[str, Any]]] = field(default_factory=dict)

    def grade(self, candidate: Candidate, confidence: float = 0.95) -> Graded:
        """DataError (or another PosttrainError) where the candidate can't be on a table, with the reason."""
        settings = candidate.claim.settings
        if fingerprint(settings) != candidate.claim.fingerprint:
            raise DataError("its fingerprint is not that of its settings. Submit what the evaluation wrote.")
        if settings.get("benchmark") != candidate.claim.benchmark:
            raise DataError("its settings are of another benchmark than it names. Submit what the evaluation wrote.")
        spec = str(settings.get("grading"))
        if spec not in SPECS:
            raise DataError(
                f"it was graded by {clean(spec, 60)!r}, which the board can't do. Known: {', '.join(sorted(SPECS))}."
            )
        if spec in RUN_PROGRAMS and candidate.kind == "submission" and not self.programs:
            raise DataError("grading it would run its programs here. Allow that with --programs.")
        if candidate.rows is not None:
            self.golds.add(settings, candidate.rows.problems)
        problems = self.golds.of(settings)
        answers, digest = candidate.read()
        key = (digest, fingerprint({"settings": settings, "confidence": confidence}))
        if key not in self.known:
            check_answers(answers, problems, settings)
            samples = verdicts(answers, problems, spec)
            self.known[key] = (judged(samples).scores, measure(samples, confidence))
        scores, measures = self.known[key]
        return Graded(candidate, scores, measures, digest)


def check_answers(answers: Sequence[Answer], problems: Mapping[str, Problem], settings: Mapping[str, Any]) -> None:
    """DataError unless every problem has its answers, each once, to the question that was really asked."""
    seen: set[tuple[str, int]] = set()
    for answer in answers:
        problem = problems.get(answer.problem_id)
        if problem is None:
            raise DataError(f"it answers {clean(answer.problem_id, 60)!r}, which is no problem of this benchmark.")
        if answer.question != problem.question:
            raise DataError(f"its question {clean(answer.problem_id, 60)!r} is not the benchmark's.")
        if (answer.problem_id, answer.index) in seen:
            raise DataError(f"it answers {clean(answer.problem_id, 60)!r} twice as sample {answer.index}.")
        seen.add((answer.problem_id, answer.index))
    missing = len(problems) - len({problem for problem, _ in seen})
    if missing:
        raise DataError(f"it lacks answers to {missing:,} of the {len(problems):,} problems. All must be answered.")
    sampling = settings.get("sampling")
    drawn = sampling.get("n", 1) if isinstance(sampling, dict) else 1
    if not isinstance(drawn, int) or len(seen) != drawn * len(problems):
        raise DataError(
            f"it has {len(seen):,} answers where its settings say {clean(str(drawn), 20)} to each of "
            f"{len(problems):,} problems."
        )


def verdicts(answers: Sequence[Answer], problems: Mapping[str, Problem], spec: str) -> list[Sample]:
    """The answers with the board's verdicts, ordered by problem id and index, so that all candidates line up."""
    ordered = sorted(answers, key=lambda a: (a.problem_id, a.index))
    samples = []
    for start in range(0, len(ordered), BATCH):
        block = ordered[start : start + BATCH]
        graded = grade_many([(problems[a.problem_id], a.response, a.truncated) for a in block], spec)
        samples += [_sample(a, v) for a, v in zip(block, graded, strict=True)]
    return samples


def _sample(answer: Answer, verdict: Verdict) -> Sample:
    return Sample(
        problem_id=answer.problem_id,
        index=answer.index,
        question=answer.question,
        response=answer.response,
        source="",
        token_ids=(0,) * answer.tokens if answer.tokens is not None else None,
        finish_reason="length" if answer.truncated else "stop",
        verdict=verdict,
    )


def grade_all(
    candidates: Sequence[Candidate], regrader: Regrader, confidence: float
) -> tuple[list[Graded], list[tuple[Candidate, str]]]:
    """The candidates that can be ranked, and the others with the reason. Trusted runs first: they bring golds."""
    found: dict[int, Graded] = {}
    refused = []
    for i in sorted(range(len(candidates)), key=lambda i: candidates[i].kind != "run"):
        try:
            found[i] = regrader.grade(candidates[i], confidence)
        except PosttrainError as error:
            refused.append((candidates[i], str(error)))
    return [found[i] for i in sorted(found)], refused
