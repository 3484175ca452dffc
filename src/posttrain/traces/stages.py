"""The `traces` stage: responses that a student will learn from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from posttrain.errors import DataError, RecipeError
from posttrain.hub.push import check_token
from posttrain.records import Problem, Sample, samples_to_tables
from posttrain.stage import Parts, Workspace
from posttrain.store import Checkpoint, Problems, Samples
from posttrain.traces.config import COPYING, LOCAL, SOLVERS, TracesConfig
from posttrain.traces.copying import copy_solutions
from posttrain.traces.forecast import forecast
from posttrain.traces.sharding import make_parts, part_names

if TYPE_CHECKING:
    from posttrain.providers import Reply
    from posttrain.traces.rows import Asked

MAX_UNDECIDED = 0.01  # as in an evaluation: more, and the grader is not the right one


def traces(config: TracesConfig, problems: Problems, work: Workspace, model: Checkpoint | None = None) -> Samples:
    """Worked answers to problems: ``samples.parquet``; of teachers that are asked ``verdicts.parquet`` and a data set.

    Copied solutions are not graded. Everything else is cleaned, graded, and kept with its usage and cost; whatever was
    paid for stays in the journals beside this stage's folder, so that making it again costs nothing.
    """
    chosen = problems.read(config.split)[: config.limit]
    _check_model(config, model)
    if config.push is not None:
        check_token(config.push.repo)  # before anything is paid for
    if set(config.teachers) <= set(COPYING):
        copy_solutions(config, config.teachers[0], chosen, work)
        return Samples(work.dir)
    _write(config, chosen, _replies(config, chosen, model, work), work)
    return Samples(work.dir)


traces.forecast = forecast  # type: ignore[attr-defined]
traces.parts = Parts(part_names, make_parts)  # type: ignore[attr-defined]


def _check_model(config: TracesConfig, model: Checkpoint | None) -> None:
    if model is not None and LOCAL not in config.teachers:
        raise RecipeError(
            f"traces was given the model {model.label}, and its teacher is {', '.join(config.teachers)}, which is no "
            "model of yours. Write teacher: local, or leave model out."
        )
    if model is None and LOCAL in config.teachers:
        raise RecipeError("teacher 'local' is a model of yours, and none is given. Add model: …, a stage or a folder.")


def _replies(
    config: TracesConfig, chosen: Sequence[Problem], model: Checkpoint | None, work: Workspace
) -> list[tuple[Asked, Reply]]:
    """Of all teachers, by teacher, then problem, then sample."""
    from posttrain.prompts import get_template
    from posttrain.traces.asking import ask_all
    from posttrain.traces.local import model_replies, solver_replies

    found: list[tuple[Asked, Reply]] = []
    for rank, name in enumerate(config.teachers):
        if name in SOLVERS:
            found += solver_replies(config, name, chosen, rank * config.samples, work)
        elif name == LOCAL and model is not None:
            found += model_replies(config, model, chosen, rank * config.samples, work)
    if config.asked:
        template = get_template(config.template, system=config.system)
        found += ask_all(config, chosen, template, work).replies
    place = {problem.id: number for number, problem in enumerate(chosen)}
    return sorted(found, key=lambda pair: (place[pair[0].problem.id], pair[0].index))


def _write(
    config: TracesConfig, chosen: Sequence[Problem], replies: Sequence[tuple[Asked, Reply]], work: Workspace
) -> None:
    from posttrain.prompts import get_template
    from posttrain.traces import dataset
    from posttrain.traces.rows import only_correct, traces_of

    spec = config.grading or get_template(config.template).grading
    instructions = [config.system or "", *(config.prompt or "").split("{question}")]
    samples = traces_of(replies, form=config.format, spec=spec, cleaning=config.clean, instructions=instructions)
    kept = only_correct(samples) if config.keep == "correct" else samples
    if not kept:
        raise DataError(
            f"of {len(samples)} answers of {', '.join(config.teachers)} none is correct by {spec!r}, so none is kept. "
            "Look at them with keep: all; the journals have them, and nothing is asked again."
        )
    generations, verdicts = samples_to_tables(kept)
    work.write_table("samples.parquet", generations)
    work.write_table("verdicts.parquet", verdicts)
    dataset.write_dataset(work.dir / dataset.FOLDER, config, samples, spec)
    _certify(config, chosen, samples, work)
    work.summarise(traces=len(kept), teacher=", ".join(config.teachers), **_numbers(samples))
    if config.push is not None:
        dataset.push(work.dir / dataset.FOLDER, config.push, work)


def _numbers(samples: Sequence[Sample]) -> dict[str, Any]:
    """What the manifest keeps of the answers; cost only where all of it is known."""
    verdicts = Counter(s.verdict.correct for s in samples if s.verdict)
    counts = {
        "correct": verdicts[True],
        "wrong": verdicts[False],
        "undecided": verdicts[None],
        "truncated": sum(s.truncated for s in samples),
        "cleaned": sum("cuts" in s.extra for s in samples),
    }
    told: dict[str, Any] = {name: count for name, count in counts.items() if count}
    costs = [s.extra.get("cost") for s in samples]
    if None not in costs and (total := sum(c for c in costs if c is not None)):
        told["dollars"] = round(total, 6)
    return told | {"tokens": mean} if (mean := _mean_tokens(samples)) is not None else told


def _mean_tokens(samples: Iterable[Sample]) -> float | None:
    known = [t for s in samples if (t := s.extra.get("usage", {}).get("completion")) is not None]
    return round(sum(known) / len(known), 1) if known else None


def _certify(config: TracesConfig, chosen: Sequence[Problem], samples: Sequence[Sample], work: Workspace) -> None:
    wanted = len(chosen) * len(config.teachers) * config.samples
    keys = {(s.problem_id, s.index) for s in samples}
    twice = len(samples) - len(keys)
    work.certify("every question has one answer", len(keys) == wanted and not twice, asked=wanted, answered=len(keys))
    undecided = sum(s.verdict is not None and s.verdict.correct is None for s in samples) / max(1, len(samples))
    work.certify("the grader decides", undecided <= MAX_UNDECIDED, undecided=undecided, tolerance=MAX_UNDECIDED)
