"""`answer`: problems in, graded Samples out. Training validates with it, the eval stage evaluates with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from posttrain.benchmarks.benchmark import UNGRADED
from posttrain.engines.base import Engine, Prompt, Sampling
from posttrain.errors import DataError
from posttrain.grading import grade
from posttrain.grading.programs import TEST_KEYS
from posttrain.records import Completion, Problem, Sample
from posttrain.seeding import derive

if TYPE_CHECKING:
    from posttrain.prompts import Template


def answer(
    engine: Engine,
    tokenizer: Any,
    problems: Sequence[Problem],
    template: Template,
    sampling: Sampling,
    spec: str,
    *,
    seed: int,
    source: str,
) -> list[Sample]:
    """Generates `sampling.n` answers of every problem and grades them; ordered by problem as given, then index.

    The template's stops are added to the sampling's. The noise of a problem comes from (seed, problem id), so the
    answers to one problem don't depend on which others are asked. `source` names who answers.
    """
    order = {p.id: rank for rank, p in enumerate(problems)}
    found = answers(engine, tokenizer, problems, template, sampling, spec, seed=seed, source=source)
    return sorted(found, key=lambda s: (order[s.problem_id], s.index))


def answers(
    engine: Engine,
    tokenizer: Any,
    problems: Sequence[Problem],
    template: Template,
    sampling: Sampling,
    spec: str,
    *,
    seed: int,
    source: str,
) -> Iterator[Sample]:
    """`answer`, one by one as they finish. tokenizer None: an engine that is asked in text. DataError for two problems
    of one id."""
    by_id = unique_by_id(problems)
    stopping = with_stops(sampling, template, tokenizer)
    prompts = (_prompt(p, tokenizer, template, derive(seed, "answer", p.id)) for p in problems)
    for completion in engine.generate(prompts, stopping):
        problem = by_id[completion.key]
        response = response_text(completion, tokenizer, template, stopping)
        yield graded(as_sample(problem, completion, response, source), problem, spec)


def _prompt(problem: Problem, tokenizer: Any, template: Template, seed: int) -> Prompt:
    if tokenizer is None:
        return Prompt(problem.id, (), seed, messages=template.messages(problem.question))
    return Prompt(problem.id, tuple(template.prompt_ids(problem.question, tokenizer)), seed)


def unique_by_id(problems: Iterable[Problem]) -> dict[str, Problem]:
    """Problems by id. DataError when an id comes twice."""
    found: dict[str, Problem] = {}
    for problem in problems:
        if problem.id in found:
            raise DataError(f"problem id {problem.id!r} comes twice. Ids must be unique: rename one of the two.")
        found[problem.id] = problem
    return found


def with_stops(sampling: Sampling, template: Template, tokenizer: Any) -> Sampling:
    """The sampling with the template's stop strings and, with a tokenizer, end-of-turn ids added to its own."""
    ends = template.stop_token_ids(tokenizer) if tokenizer is not None else ()
    return dataclasses.replace(
        sampling,
        stop=tuple(dict.fromkeys((*sampling.stop, *template.stop))),
        stop_token_ids=tuple(dict.fromkeys((*sampling.stop_token_ids, *ends))),
    )


def response_text(completion: Completion, tokenizer: Any, template: Template, sampling: Sampling) -> str:
    """The response as text: what the prompt already wrote of it, and the sampled tokens without the one that ended it.

    Other special tokens are kept: a grader must see a turn that the model went on to play itself.
    """
    if completion.text is not None:  # of a server: it may have repeated what the prompt wrote
        return template.opened + completion.text.removeprefix(template.opened)
    ids = list(completion.token_ids)
    if ids and completion.finish_reason == "stop" and ids[-1] in sampling.stop_token_ids:
        ids.pop()
    decoded = tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return template.opened + str(decoded)


def as_sample(problem: Problem, completion: Completion, response: str, source: str) -> Sample:
    """The ungraded Sample of a completion."""
    return Sample(
        problem_id=problem.id,
        index=completion.index,
        question=problem.question,
        response=response,
        source=source,
        gold=problem.answer,
        token_ids=completion.token_ids if completion.text is None else completion.token_ids or None,
        logprobs=completion.logprobs if completion.text is None else None,
        prompt_ids=completion.prompt_ids or None,
        finish_reason=completion.finish_reason,
        weights_version=completion.weights_version,
        split=problem.split,
        extra=_for_regrading(problem),
    )


def _for_regrading(problem: Problem) -> dict[str, Any]:
    """What a grader needs beside question and gold: the choices, or the tests of a program."""
    tests = {key: problem.extra[key] for key in TEST_KEYS if problem.extra.get(key)}
    return ({"choices": list(problem.choices)} if problem.choices else {}) | tests


def graded(sample: Sample, problem: Problem, spec: str) -> Sample:
    """The Sample with the grader's verdict; without one where the grading is `none`."""
    if spec == UNGRADED:
        return sample
    verdict = grade(problem, sample.response, spec, truncated=sample.truncated)
    return dataclasses.replace(sample, verdict=verdict)
