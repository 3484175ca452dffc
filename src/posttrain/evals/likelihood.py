"""Answers by log-likelihood: every choice is scored after the question, and the likeliest one is the answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from posttrain.benchmarks import Benchmark
from posttrain.benchmarks.benchmark import NORMALISED
from posttrain.engines.base import Engine
from posttrain.evals.answering import graded, unique_by_id
from posttrain.grading.choice import LETTERS
from posttrain.prompts import continuation_ids
from posttrain.records import Problem, Sample

CHOICE, NORMALISED_CHOICE = "choice", "choice_by_character"  # in a Sample's extra: the letters of acc and acc_norm


def likelihood_answers(
    engine: Engine, tokenizer: Any, benchmark: Benchmark, problems: Sequence[Problem], *, source: str
) -> Iterator[Sample]:
    """One graded Sample per problem, in order.

    Its response is the letter of the choice with the largest log p(choice | question), or, where the benchmark's
    headline is acc_norm, the largest log p per character of the choice, as lm-eval has it. A prompt that is longer than
    the engine's context loses its beginning, and the sample says how many tokens.
    """
    rules = benchmark.likelihood
    assert rules is not None, benchmark.name
    unique_by_id(problems)
    context = getattr(engine, "context", None)
    parts = [
        [continuation_ids(rules.context(p, benchmark.shots), c, tokenizer) for c in rules.continuations(p)]
        for p in problems
    ]
    cut = [[max(0, len(a) + len(b) - context) if context else 0 for a, b in row] for row in parts]
    sequences = (
        [*a, *b][lost:] for row, gone in zip(parts, cut, strict=True) for (a, b), lost in zip(row, gone, strict=True)
    )
    scores = engine.score(sequences)
    for problem, row, gone in zip(problems, parts, cut, strict=True):
        sums = [sum(next(scores)[-len(b) :]) for _, b in row]
        lengths = [len(c) - 1 for c in rules.continuations(problem)]  # without the space that parts it from the prompt
        plain, normalised = _best(sums), _best([s / max(1, n) for s, n in zip(sums, lengths, strict=True)])
        headline = normalised if benchmark.metrics[0] == NORMALISED else plain
        sample = Sample(
            problem_id=problem.id,
            index=0,
            question=problem.question,
            response=LETTERS[headline],
            source=source,
            gold=problem.answer,
            finish_reason="stop",
            split=problem.split,
            extra={
                "choices": list(problem.choices or ()),
                "loglikelihoods": sums,
                NORMALISED_CHOICE: LETTERS[normalised],
                CHOICE: LETTERS[plain],
            }
            | ({"prompt_tokens_cut": max(gone)} if max(gone) else {}),
        )
        yield graded(sample, problem, benchmark.grading)


def _best(values: Sequence[float]) -> int:
    """The first of the largest."""
    return max(range(len(values)), key=values.__getitem__)
