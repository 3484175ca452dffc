"""Validation while training: in the trainer's process, or in one beside it that the trainer never waits for."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from posttrain.errors import DataError
from posttrain.prompts import get_template
from posttrain.tracking import Metrics
from posttrain.training.asked import Answered, Asked, ask, held_out_examples
from posttrain.training.config import ValidationConfig
from posttrain.training.distributed import Ranks

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from posttrain.prompts import Example
    from posttrain.stage import Workspace
    from posttrain.store import Problems

SAMPLES = "validation.jsonl"


class Watch(Protocol):
    """What a training loop knows of validation."""

    def maybe(self, step: int, steps: int) -> dict[str, float]:
        """Called after every step (`step` of `steps` are done) and, on a fresh start, before the first (step 0).

        Returns scores to be logged for this very step; empty where it is not due, or is answered elsewhere and logged
        from there.
        """
        ...

    def settle(self) -> None:
        """After the last step: returns when no score is on its way any more."""
        ...


@dataclass(slots=True)
class SampleLog:
    """validation.jsonl, one answer a line with its step; the trackers get the rows as tables."""

    metrics: Metrics
    rows: Metrics

    @classmethod
    def of(cls, folder: Path, metrics: Metrics) -> SampleLog:
        return cls(metrics, Metrics(folder / SAMPLES))

    def add(self, found: Answered) -> None:
        self.rows.log_many(found.step, found.samples)
        self.metrics.table(found.step, "validation", found.samples)

    def rewind(self, step: int) -> None:
        """Drops what was answered past `step`: it will be asked again."""
        self.rows.rewind(step)


def due(step: int, steps: int, every: int) -> bool:
    """Before the first step, after every `every` steps and after the last."""
    return step % every == 0 or step == steps


@dataclass(slots=True)
class Validator:
    """In the trainer's process, on the trainer's own weights."""

    every: int
    asked: Asked
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    log: SampleLog
    _begun: bool = field(default=False)

    def maybe(self, step: int, steps: int) -> dict[str, float]:
        if not self._begun:
            self._begun = True
            self.log.rewind(step - 1)
        if not due(step, steps, self.every):
            return {}
        began = time.perf_counter()
        found = ask(self.model, self.tokenizer, self.asked, step)
        self.log.add(found)
        return {**found.scores, "seconds_validation": time.perf_counter() - began}

    def settle(self) -> None:
        """Nothing is on its way."""


@dataclass(frozen=True, slots=True)
class Lender:
    """What the other ranks do where each holds a part of the weights: they give theirs when the first one asks."""

    every: int
    model: PreTrainedModel
    ranks: Ranks

    def maybe(self, step: int, steps: int) -> dict[str, float]:
        if due(step, steps, self.every):
            self.ranks.weights(self.model)
        return {}

    def settle(self) -> None:
        """The first rank waits alone."""


def open_validation(
    config: ValidationConfig,
    problems: Problems | None,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    template: str,
    work: Workspace,
    *,
    system: str | None = None,
    grading: str | None = None,
    examples: Sequence[Example] = (),
    ranks: Ranks | None = None,
) -> Watch | None:
    """Validation as `config` asks for it; None where it is off. A process beside is ended with the stage.

    template: its name or file. grading: a spec in place of the template's.
    examples: held-out responses; where there are none, the solutions of the validation problems are.
    ranks: of the processes that train the model together: the first one validates, and all must ask for a Watch.
    DataError where there are no problems to validate on.
    """
    ranks = ranks or Ranks()
    if not config.every or not (ranks.first or ranks.sharded):
        return None
    if not ranks.first:
        return Lender(config.every, model, ranks)
    if problems is None:
        raise DataError("validation.every is set, but the stage has no 'problems' to validate on. Add problems: ….")
    chosen = problems.read("validation")[: config.problems]
    asked = Asked(
        problems=chosen,
        examples=examples[: config.problems] or held_out_examples(chosen, template, tokenizer, system),
        template=template,
        system=system,
        grading=grading or get_template(template).grading,
        max_tokens=config.max_tokens,
        engine=config.engine,
        vllm=config.vllm,
    )
    log = SampleLog.of(work.dir, work.metrics)
    if not config.beside:
        return Validator(config.every, asked, model, tokenizer, log)
    from posttrain.training.beside.beside import Beside

    return work.closing.enter_context(Beside(config, asked, model, tokenizer, log, work, ranks))
