"""`sft`: traces to supervised tokens, then the supervised loop."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from posttrain.errors import DataError
from posttrain.models import load_model, load_tokenizer, pick_device
from posttrain.prompts import get_template
from posttrain.sft.config import SFTConfig
from posttrain.sft.supervised import Plan, train
from posttrain.store import Checkpoint, Problems, Samples, Tokens
from posttrain.training.aggregation import Aggregation
from posttrain.training.batches import steps_of_epochs
from posttrain.training.tokenise import TokenReport, check_tokenizer, read_tokens, tokenise
from posttrain.training.validation import open_validation

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from posttrain.prompts import Example
    from posttrain.stage import Workspace


def finetune(
    config: SFTConfig, model: Checkpoint, traces: Samples | Tokens, problems: Problems | None, work: Workspace
) -> None:
    tokenizer = load_tokenizer(model.ref, revision=model.revision)
    examples, report = _examples(config, traces, tokenizer)
    if report.kept < report.rows:
        work.note(
            f"{report.rows - report.kept} of {report.rows} rows left out: "
            f"{report.too_long} too long, {report.empty} empty"
        )
    policy = load_model(model.ref, revision=model.revision, device=pick_device(work.device))
    check_tokenizer(policy, tokenizer, model)
    steps = config.steps or steps_of_epochs(len(examples), config.batch_size, config.epochs or 1)
    watch = open_validation(config.validation, problems, policy, tokenizer, config.template, work)
    validate = functools.partial(watch.maybe, steps=steps) if watch is not None else None
    aggregation: Aggregation = "token_mean" if config.loss == "per_token" else "sequence_sum"
    plan = Plan(examples, config.batch_size, steps, aggregation, "sft", validate)
    train(config, plan, policy, tokenizer, work)
    work.summarise(examples=len(examples), epochs=round(steps * config.batch_size / len(examples), 2))


def _examples(
    config: SFTConfig, traces: Samples | Tokens, tokenizer: PreTrainedTokenizerBase
) -> tuple[list[Example], TokenReport]:
    if isinstance(traces, Tokens):
        return read_tokens(traces.path, tokenizer)
    rows = [s for s in traces.read() if config.split is None or s.split == config.split]
    if config.only_correct:
        rows = [s for s in rows if s.verdict is not None and s.verdict.correct]
    if not rows:
        raise DataError(
            f"{traces.label} has no rows for split {config.split!r}"
            + (" with a correct verdict" if config.only_correct else "")
            + ". Check split: and only_correct:."
        )
    return tokenise(rows, get_template(config.template), tokenizer, max_tokens=config.max_tokens)
