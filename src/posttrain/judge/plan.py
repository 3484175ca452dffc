"""From evaluations to questions: what is judged, against what, in which order."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from posttrain.benchmarks import get_benchmark
from posttrain.data.rows import read_rows
from posttrain.errors import DataError, RecipeError, did_you_mean
from posttrain.evals import Answers, distinct_names, read_answers, read_ungraded
from posttrain.judge.asks import Ask
from posttrain.judge.config import JudgeConfig, TaskConfig
from posttrain.records import Sample
from posttrain.store import Scores

DEFAULTS = {"alpaca_eval": "win_rate", "simple_safety_tests": "safety"}
References = Mapping[str, str]  # problem id → text


def collect(config: JudgeConfig, of: Sequence[Scores]) -> list[Answers]:
    """The answers to be judged: every model (or those named) on every benchmark, graded or not. Models of one name get
    their evaluation's name in front: sweep-sft:step-000050.

    RecipeError for an evaluation without answers, and a model that isn't there.
    """
    found = [
        _renamed(answers, called[answers.model])
        for called, one in zip(distinct_names(of), of, strict=True)
        for answers in (*read_answers([one]), *read_ungraded([one]))
    ]
    if not found:
        raise RecipeError(
            f"{', '.join(s.label for s in of)} holds no answers. Finish the evaluation by running it again."
        )
    known = list(dict.fromkeys(a.model for a in found))
    opponents = {t.against for t in config.tasks if t.task == "preference"}
    for name in [*config.models, *sorted(o for o in opponents if o)]:
        if name not in known:
            raise RecipeError(
                f"no model {name!r} was evaluated.{did_you_mean(name, known)} There are: {', '.join(known)}."
            )
    return found


def _renamed(answers: Answers, model: str) -> Answers:
    return dataclasses.replace(answers, entry={**answers.entry, "model": model})


def tasks_of(config: JudgeConfig, answers: Sequence[Answers]) -> list[tuple[TaskConfig, str]]:
    """(task, benchmark) of everything that is to be judged. RecipeError for a benchmark that wasn't answered."""
    known = list(dict.fromkeys(a.benchmark for a in answers))
    if not config.tasks:
        found = []
        for benchmark in known:
            gold = any(s.gold is not None for a in answers if a.benchmark == benchmark for s in a.samples)
            kind = DEFAULTS.get(benchmark) or ("correctness" if gold else None)
            if kind is None:
                raise RecipeError(
                    f"the answers to {benchmark} have no reference, so what is asked of them must be said: "
                    "tasks: [{task: quality}], safety, preference or win_rate."
                )
            found.append((TaskConfig.model_validate({"task": kind}), benchmark))
        return found
    chosen = []
    for task in config.tasks:
        if task.benchmark is not None and task.benchmark not in known:
            raise RecipeError(
                f"{task.task}: nothing was answered on {task.benchmark!r}.{did_you_mean(task.benchmark, known)} "
                f"There are: {', '.join(known)}."
            )
        chosen += [(task, name) for name in ([task.benchmark] if task.benchmark else known)]
    return chosen


def asks_of(config: JudgeConfig, answers: Sequence[Answers]) -> list[Ask]:
    """Every question, task by task, model by model, in the order of problems."""
    asks: list[Ask] = []
    for task, benchmark in tasks_of(config, answers):
        several = [a for a in answers if a.benchmark == benchmark]
        judged = [a for a in several if not config.models or a.model in config.models]
        if task.task == "preference":
            other = next(a for a in answers if a.model == task.against)
            against = next((a for a in several if a.model == task.against), None)
            if against is None:
                raise RecipeError(f"preference: {other.model} did not answer {benchmark}. Evaluate it there too.")
            for mine in judged:
                if mine.model != task.against:
                    asks += _pairs(task, mine, _answers_of(mine, against), against.model)
        elif task.task == "win_rate":
            name, references = references_of(task, benchmark)
            for mine in judged:
                asks += _pairs(task, mine, references, name)
        else:
            for mine in judged:
                asks += _single(task, mine)
    return asks


def _single(task: TaskConfig, answers: Answers) -> Iterator[Ask]:
    for sample in _chosen(task, answers.samples):
        if task.task == "correctness" and sample.gold is None:
            raise DataError(
                f"{answers.benchmark}: problem {sample.problem_id!r} has no reference answer to judge correctness by. "
                "Ask for quality or preference, or name another benchmark."
            )
        yield _ask(task, answers, sample)


def _pairs(task: TaskConfig, answers: Answers, others: References, name: str) -> Iterator[Ask]:
    for sample in _chosen(task, answers.samples):
        if sample.problem_id not in others:
            raise DataError(
                f"{name} has no answer to {sample.problem_id!r} of {answers.benchmark}, which {answers.model} "
                "answered. Compare answers to the same problems."
            )
        orders = (0, 1) if task.orders == "both" else (_drawn(sample),)
        for order in orders:
            yield _ask(task, answers, sample, other=name, response=others[sample.problem_id], order=order)


def _ask(
    task: TaskConfig,
    answers: Answers,
    sample: Sample,
    *,
    other: str | None = None,
    response: str | None = None,
    order: int = 0,
) -> Ask:
    return Ask(
        task=task.task,
        model=answers.model,
        benchmark=answers.benchmark,
        problem_id=sample.problem_id,
        index=sample.index,
        question=sample.question,
        response=sample.response,
        gold=sample.gold if task.task == "correctness" else None,
        other=other,
        other_response=response,
        order=order,
        verdict=sample.verdict.correct if sample.verdict is not None else None,
        step=answers.entry.get("step"),
    )


def _drawn(sample: Sample) -> int:
    return hashlib.sha256(f"order/{sample.problem_id}/{sample.index}".encode()).digest()[0] & 1


def _chosen(task: TaskConfig, samples: Sequence[Sample]) -> list[Sample]:
    """The first `samples` of the problems whose hashed id comes first, in the order given."""
    ids = list(dict.fromkeys(s.problem_id for s in samples))
    ranked = sorted(ids, key=lambda i: hashlib.sha256(i.encode()).digest())
    kept = set(ranked[: task.limit] if task.limit else ids)
    return [s for s in samples if s.problem_id in kept and s.index < task.samples]


def _answers_of(mine: Answers, against: Answers) -> References:
    """The other model's first answer to each problem. DataError where the two were not asked the same."""
    if mine.entry["fingerprint"] != against.entry["fingerprint"]:
        raise DataError(
            f"{mine.model} and {against.model} were not asked the same on {mine.benchmark}: the problem set, prompt or "
            "sampling differs. Evaluate both with the same settings."
        )
    return {s.problem_id: s.response for s in against.samples if s.index == 0}


def references_of(task: TaskConfig, benchmark: str) -> tuple[str, References]:
    """(whose, answers by problem id) to win against. DataError where there are none, or several and none is named."""
    if task.references is not None:
        several = _from_file(task.references)
        source = str(task.references)
    else:
        source = f"benchmark {benchmark}"
        several = {}
        for problem in get_benchmark(benchmark).problems:
            for name, text in dict(problem.extra.get("reference_outputs") or {}).items():
                several.setdefault(str(name), {})[problem.id] = str(text)
    if not several:
        raise DataError(f"{source} has no reference answers (reference_outputs). Name a file: references: FILE.jsonl.")
    name = task.against or (next(iter(several)) if len(several) == 1 else None)
    if name is None or name not in several:
        hint = did_you_mean(name, several) if name else ""
        raise DataError(
            f"{source} has the answers of {', '.join(several)}.{hint} Say whose: against: {next(iter(several))}."
        )
    return name, several[name]


def _from_file(path: Path) -> dict[str, dict[str, str]]:
    """Whose → problem id → text, of rows {id, reference_outputs: {name: text}} or {id, output[, generator]}."""
    several: dict[str, dict[str, str]] = {}
    for row in read_rows(path.expanduser()):
        outputs = row.values.get("reference_outputs")
        if outputs is None and "output" in row.values:
            outputs = {str(row.values.get("generator") or path.stem): row.values["output"]}
        if not isinstance(outputs, dict) or "id" not in row.values:
            raise DataError(f"{row.where}: a row of references has id and reference_outputs {{name: text}}, or output.")
        for name, text in outputs.items():
            if isinstance(text, str):
                several.setdefault(str(name), {})[str(row.values["id"])] = text
    return several
