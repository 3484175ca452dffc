"""Problems × teachers × samples: what is asked of providers, all teachers at once, each with a journal of its own.

The journals stand in `journals/` beside the stage's folder (in a run: beside all of its stages), a folder per teacher.
They are no part of the artifact: `--fresh` and a changed config leave them where they are, and whatever was paid for is
read there. Replies are kept by what was asked and of whom, so stages that ask the same share them.
"""

from __future__ import annotations

import hashlib
import random
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from posttrain.errors import BudgetError, LockedError, ProviderError, RecipeError
from posttrain.providers import Budget, Live, Reply, Request, Teacher, ask
from posttrain.traces import pilot
from posttrain.traces.local import put
from posttrain.traces.pilot import Forecast, dollars
from posttrain.traces.rows import Asked
from posttrain.traces.streams import at_once
from posttrain.traces.watch import Watch

if TYPE_CHECKING:
    from posttrain.prompts import Template
    from posttrain.records import Problem
    from posttrain.stage import Workspace
    from posttrain.traces.config import TracesConfig

JOURNALS = "journals"
LOOK = 2.0  # seconds between two looks at a journal that another stage writes


@dataclass(frozen=True)
class Plan:
    """What one teacher is asked. asked: key → the traces that its reply makes; the same question asked by two problems
    is one request."""

    teacher: Teacher
    requests: Mapping[str, Request]
    asked: Mapping[str, tuple[Asked, ...]]
    journal: Path


@dataclass(frozen=True)
class Outcome:
    """The replies of the config's own teachers; where only a pilot was asked for, the lines that tell of it."""

    replies: tuple[tuple[Asked, Reply], ...]
    lines: tuple[str, ...]


def plans_of(config: TracesConfig, chosen: Sequence[Problem], template: Template, journals: Path) -> dict[str, Plan]:
    """By teacher, for the config's teachers of providers and those beside."""
    plans = {}
    for name in config.asked:
        teacher = config.resolved(name)
        rank = config.teachers.index(name) if name in config.teachers else 0
        requests: dict[str, Request] = {}
        asked: dict[str, list[Asked]] = defaultdict(list)
        for problem in chosen:
            for sample in range(config.samples):
                request = request_of(config, problem, template, sample)
                key = request.key(teacher)
                requests[key] = request
                asked[key].append(Asked(problem, name, rank * config.samples + sample))
        folder = journals / folder_name(name)
        plans[name] = Plan(teacher, requests, {k: tuple(v) for k, v in asked.items()}, folder / "replies.jsonl")
    return plans


def request_of(config: TracesConfig, problem: Problem, template: Template, sample: int) -> Request:
    """The question as it is sent."""
    messages = template.messages(put(config, problem.question))
    settings = {"temperature": config.temperature, "top_p": config.top_p, "max_tokens": config.max_tokens}
    if template.stop:
        settings["stop"] = list(template.stop)  # type: ignore[assignment]
    return Request(
        tuple({"role": role, "content": content} for role, content in messages),
        {name: value for name, value in settings.items() if value is not None},
        sample,
    )


def journals_folder(config: TracesConfig, stage: Path) -> Path:
    """Where the journals are: the config's folder, or `journals` beside the stage's."""
    return config.journal.expanduser() if config.journal else stage.resolve().parent / JOURNALS


def folder_name(teacher: str) -> str:
    """A teacher's name as a folder's: readable, and no two of one name."""
    readable = re.sub(r"[^\w.+-]+", "-", teacher).strip("-.")[:60]
    return readable if readable == teacher else f"{readable}-{hashlib.sha256(teacher.encode()).hexdigest()[:6]}"


def ask_all(
    config: TracesConfig, chosen: Sequence[Problem], template: Template, work: Workspace, *, only_pilot: bool = False
) -> Outcome:
    """Asks the config's own teachers and those beside, whose replies are journaled only.

    only_pilot: stops after the pilot. ProviderError where more requests stay without a reply than `allow_failed`; what
    has come is in the journals.
    """
    plans = plans_of(config, chosen, template, journals_folder(config, work.dir))
    budget = Budget(config.max_cost)
    told: list[Forecast] = []
    if config.pilot is not None:
        told = _ask_pilot(config, chosen, plans, template, budget, work)
        lines = tuple(line for one in told for line in one.lines())
        if only_pilot:
            return Outcome((), lines)
        for line in lines:
            work.note(line)
        _check_cost(config, told)
    found = _run(config, plans, {name: list(plan.requests) for name, plan in plans.items()}, budget, work, "asking")
    _check_failures(config, plans, found)
    answered = tuple(
        (asked, reply)
        for name in config.teachers
        if name in plans
        for key, reply in found[name].items()
        if reply.finish_reason != "error"
        for asked in plans[name].asked[key]
    )
    return Outcome(answered, ())


def _run(
    config: TracesConfig,
    plans: Mapping[str, Plan],
    keys: Mapping[str, Sequence[str]],
    budget: Budget,
    work: Workspace,
    label: str,
) -> dict[str, dict[str, Reply]]:
    """Asks what `keys` names, of all teachers at once; replies by teacher and key."""
    found: dict[str, dict[str, Reply]] = {name: {} for name in plans}
    with Watch(work, label, {name: len(keys[name]) for name in plans}) as watch:

        def opened(name: str) -> Callable[[], Iterator[Reply]]:
            requests = [plans[name].requests[key] for key in keys[name]]
            return lambda: _patient(lambda: _stream(config, plans[name], requests, budget, watch), watch)

        for name, reply in at_once({name: opened(name) for name in plans}):
            found[name][reply.key] = reply
            watch.add(reply)
    return found


def _patient(opened: Callable[[], Iterator[Reply]], watch: Watch) -> Iterator[Reply]:
    """A stream, as soon as no other stage that asks the same teacher writes its journal."""
    told = False
    while True:
        stream = opened()
        try:
            first = next(stream, None)
        except LockedError as error:
            if not told:
                watch.say(f"waiting: {error}")
            told = True
            time.sleep(LOOK)
            continue
        if first is not None:
            yield first
            yield from stream
        return


def _stream(
    config: TracesConfig, plan: Plan, requests: Sequence[Request], budget: Budget, watch: Watch
) -> Iterator[Reply]:
    look = watch.look(plan.teacher.name)
    if config.batch is None:
        yield from ask(
            plan.teacher, requests, plan.journal, budget=budget, progress=look, retry_truncated=config.retry_truncated
        )
        return
    from posttrain.providers.batch import BatchSettings, ask_batch

    live, settings = Live(), BatchSettings(**config.batch.model_dump())
    for reply in ask_batch(plan.teacher, requests, plan.journal, settings, budget=budget, say=watch.say):
        if not reply.journaled:
            live.count(reply)
            look(live)
        yield reply


def _ask_pilot(
    config: TracesConfig,
    chosen: Sequence[Problem],
    plans: Mapping[str, Plan],
    template: Template,
    budget: Budget,
    work: Workspace,
) -> list[Forecast]:
    """Asks a few, drawn by the stage's seed, and tells what all will cost. RecipeError where max_cost buys less."""
    assert config.pilot is not None
    numbers = range(len(chosen))
    drawn = random.Random(work.derive("pilot")).sample(numbers, min(config.pilot, len(chosen)))
    few = {
        name: list(
            dict.fromkeys(
                request_of(config, chosen[i], template, sample).key(plan.teacher)
                for i in sorted(drawn)
                for sample in range(config.samples)
            )
        )
        for name, plan in plans.items()
    }
    try:
        found = _run(config.model_copy(update={"batch": None}), plans, few, budget, work, "pilot")
    except BudgetError as error:
        raise RecipeError(
            f"max_cost: ${config.max_cost:g} is smaller than the pilot of {config.pilot}: {error} Raise max_cost, or "
            "lower pilot or max_tokens; what has come is in the journal."
        ) from None
    told: list[Forecast] = []
    for name, plan in plans.items():
        replies = [reply for reply in found[name].values() if reply.finish_reason != "error"]
        if not replies:
            why = next((r.error for r in found[name].values() if r.error), "no reply")
            raise ProviderError(
                f"teacher '{name}' answered nothing of the pilot: {why}. Look at the teacher's settings."
            )
        one = pilot.forecast_all(plan.teacher, replies, len(plan.requests), batch=config.batch is not None)
        pilot.keep(plan.journal.parent, one)
        told.append(one)
    return told


def _check_cost(config: TracesConfig, told: Sequence[Forecast]) -> None:
    """RecipeError where even the low end of the forecast is above what may be spent."""
    sums = [one.dollars for one in told if one.dollars is not None]
    low = sum(one.low for one in sums)
    if config.max_cost is None or low <= config.max_cost:
        return
    names = ", ".join(one.teacher for one in told)
    high = sum(one.high for one in sums)
    raise RecipeError(
        f"{names} will cost {dollars(sum(one.value for one in sums))} [{dollars(low)}, {dollars(high)}], and max_cost "
        f"is {dollars(config.max_cost)}. Raise it, or ask fewer problems (limit); the pilot's replies are kept."
    )


def _check_failures(config: TracesConfig, plans: Mapping[str, Plan], found: Mapping[str, Mapping[str, Reply]]) -> None:
    for name, plan in plans.items():
        failed = [reply for reply in found[name].values() if reply.finish_reason == "error"]
        missing = len(plan.requests) - len(found[name]) + len(failed)
        if missing > config.allow_failed * len(plan.requests):
            why = next((reply.error for reply in failed if reply.error), "no reply came")
            raise ProviderError(
                f"{missing:,} of {len(plan.requests):,} requests to teacher '{name}' stayed without a reply ({why}). "
                "Run the same command again: only these are asked. allow_failed: 0.01 goes on without a hundredth."
            )
