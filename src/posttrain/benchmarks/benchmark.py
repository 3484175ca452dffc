"""A Benchmark: problems, how they are asked, how the answers are read; and the fingerprint of all of it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from posttrain.benchmarks.likelihood import Likelihood
from posttrain.engines.base import Sampling
from posttrain.errors import DataError, RecipeError
from posttrain.grading import check_gold
from posttrain.records import Problem
from posttrain.store import fingerprint

METRIC = re.compile(r"(?:pass|maj)@([1-9][0-9]*)")
NORMALISED = "acc_norm"  # multiple choice by log-likelihood per character
UNGRADED = "none"  # the grading of answers that only a judge can tell apart
SHOWN = 3  # unreadable golds named in an error


@dataclass(frozen=True)
class Benchmark:
    """Problems with everything that decides what a score on them means.

    template: a name in posttrain.prompts; system and shots go with it. grading: a spec of posttrain.grading, or `none`
    for answers that are kept for a judge. likelihood: the choices are scored in its prompt, and nothing is generated.
    known_bad: ids whose published gold is known to be wrong; they are scored like all others.
    metrics: what it is read by: accuracy, pass@k, maj@k. RecipeError where the sampling gives too few answers for one.
    """

    name: str
    version: int
    problems: tuple[Problem, ...]
    template: str
    sampling: Sampling
    grading: str
    system: str | None = None
    shots: tuple[Problem, ...] = ()
    known_bad: frozenset[str] = field(default_factory=frozenset)
    metrics: tuple[str, ...] = ("accuracy",)
    likelihood: Likelihood | None = None

    def __post_init__(self) -> None:
        check_metrics(self.name, self.metrics, self.sampling, chosen=self.likelihood is not None)
        if self.sampling.n > 1 and self.sampling.temperature == 0:
            raise RecipeError(
                f"benchmark {self.name!r}: n = {self.sampling.n} at temperature 0 asks for the same answer "
                f"{self.sampling.n} times. Set a temperature above 0, or n: 1."
            )

    def settings(self) -> dict[str, Any]:
        """What the fingerprint is the hash of, JSON-able; problems and shots stand in it as digests."""
        scored = {"likelihood": self.likelihood.settings(), "headline": self.metrics[0]} if self.likelihood else {}
        return {
            "benchmark": self.name,
            "version": self.version,
            "problems": problems_digest(self.problems),
            "n_problems": len(self.problems),
            "template": self.template,
            "system": self.system,
            "shots": problems_digest(self.shots) if self.shots else None,
            "n_shots": len(self.shots),
            "sampling": self.sampling.settings(),
            "grading": self.grading,
            **scored,
        }

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.settings())

    @property
    def graded(self) -> bool:
        """Whether answers get a verdict here."""
        return self.grading != UNGRADED

    @property
    def slug(self) -> str:
        """The name as a folder."""
        return slug(self.name)


def check_metrics(name: str, metrics: Sequence[str], sampling: Sampling, *, chosen: bool = False) -> None:
    """RecipeError for an unknown metric, or one that needs more samples of each problem than are drawn.

    chosen: choices are scored by log-likelihood, which alone has an acc_norm.
    """
    known = ("accuracy", NORMALISED) if chosen else ("accuracy",)
    if not metrics:
        raise RecipeError(f"benchmark {name!r} has no metrics. Name one, e.g. metrics: [accuracy].")
    for metric in metrics:
        kind = None if chosen else METRIC.fullmatch(metric)
        if metric not in known and kind is None:
            others = NORMALISED if chosen else "pass@K or maj@K"
            raise RecipeError(f"benchmark {name!r}: unknown metric {metric!r}. Write accuracy, {others}.")
        if kind is not None and sampling.n < int(kind[1]):
            raise RecipeError(
                f"benchmark {name!r}: {metric} needs {kind[1]} samples of each problem, and n is {sampling.n}. Set "
                f"n: {kind[1]} or more, or leave the metric out."
            )


def slug(name: str) -> str:
    """A name as one folder: letters, digits, dots, dashes and underscores are kept."""
    cleaned = "".join(c if c.isalnum() or c in "._-" else "-" for c in name).strip(".-")
    return cleaned or "unnamed"


def problems_digest(problems: Sequence[Problem]) -> str:
    """A digest of what is asked and what counts as right; the order of the problems doesn't matter."""
    rows = sorted(
        "\x1f".join((p.id, p.question, p.answer or "", p.solution or "", *(p.choices or ()))) for p in problems
    )
    return hashlib.sha256("\x1e".join(rows).encode("utf-8", errors="surrogatepass")).hexdigest()


def first_by_hash(problems: Sequence[Problem], limit: int | None) -> tuple[Problem, ...]:
    """`limit` problems, those whose hashed id comes first, in the order given: a sample that no file order skews."""
    if limit is None or limit >= len(problems):
        return tuple(problems)
    ranked = sorted(problems, key=lambda p: hashlib.sha256(p.id.encode()).digest())
    kept = {p.id for p in ranked[:limit]}
    return tuple(p for p in problems if p.id in kept)


def validate(name: str, problems: Sequence[Problem], check: Callable[[Problem], str | None]) -> None:
    """DataError for no problems, an id that comes twice, or golds that the grader can't read (`check` says why)."""
    if not problems:
        raise DataError(f"benchmark {name!r} has no problems. Give it a file or split that has some.")
    seen: set[str] = set()
    for problem in problems:
        if problem.id in seen:
            raise DataError(f"benchmark {name!r}: problem id {problem.id!r} comes twice. Ids must be unique.")
        seen.add(problem.id)
    complaints = [c for c in map(check, problems) if c is not None]
    if complaints:
        more = f" and {len(complaints) - SHOWN} more" if len(complaints) > SHOWN else ""
        raise DataError(
            f"benchmark {name!r}: the grader can't read {len(complaints)} of {len(problems)} gold answers: "
            f"{'; '.join(complaints[:SHOWN])}{more}. Correct those answers, drop them, or choose another grading."
        )


def gold_check(spec: str) -> Callable[[Problem], str | None]:
    """Why a problem's gold can't be used, or None; there is none to check where a judge will decide."""
    return (lambda _: None) if spec == UNGRADED else partial(check_gold, spec=spec)
