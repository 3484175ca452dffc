"""`sft`: traces to supervised tokens, then the supervised loop."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import TYPE_CHECKING

from posttrain.data.contamination import tokens as words
from posttrain.errors import ModelError
from posttrain.models import load_tokenizer
from posttrain.models.forward import supports
from posttrain.models.liger import check_liger
from posttrain.sft.config import SFTConfig
from posttrain.sft.examples import gather
from posttrain.sft.supervised import Plan, train
from posttrain.store import Checkpoint, Problems, Samples, Tokens
from posttrain.training.aggregation import Aggregation
from posttrain.training.batches import steps_of_epochs
from posttrain.training.distributed import Ranks
from posttrain.training.policy import load_policy
from posttrain.training.tokenise import check_tokenizer
from posttrain.training.validation import open_validation

if TYPE_CHECKING:
    from posttrain.stage import Workspace


def certify_selection(trained: Iterable[str], problems: Problems, work: Workspace) -> None:
    """No problem that is validated or tested on is trained on: not its text, but for case and punctuation."""
    texts = {tuple(words(question)) for question in trained}
    checked = [p for p in problems.read() if p.split != "train"]
    shared = [p.id for p in checked if tuple(words(p.question)) in texts]
    work.certify(
        "validation and test are not trained on", not shared, checked=len(checked), shared=len(shared), ids=shared[:5]
    )


def finetune(
    config: SFTConfig,
    model: Checkpoint,
    traces: Samples | Tokens,
    problems: Problems | None,
    work: Workspace,
    ranks: Ranks,
) -> None:
    """What `sft` does in every rank."""
    tokenizer = load_tokenizer(model.ref, revision=model.revision)
    examples = gather(config, traces, tokenizer, work)
    policy = load_policy(config, model, work)
    check_tokenizer(policy, tokenizer, model)
    if config.packing == "documents" and not supports(policy):
        raise ModelError(
            f"packing: documents needs a forward pass that keeps packed examples apart, which there is none of for "
            f"{type(policy).__name__}. Use packing: none; the result is the same."
        )
    if config.loss_kernel == "liger":
        check_liger(policy.device)
    if ranks.first and problems is not None and isinstance(traces, Samples):
        certify_selection((s.question for s in traces.read()), problems, work)
    steps = config.steps or steps_of_epochs(len(examples), config.batch_size, config.epochs or 1)
    watch = open_validation(
        config.validation, problems, policy, tokenizer, config.template, work, system=config.system, ranks=ranks
    )
    validate = functools.partial(watch.maybe, steps=steps) if watch is not None else None
    aggregation: Aggregation = "token_mean" if config.loss == "per_token" else "sequence_sum"
    micro = config.micro_tokens or config.token_budget
    if config.packing == "documents":
        micro = config.pack_tokens or micro
    plan = Plan(
        examples,
        config.batch_size,
        steps,
        aggregation,
        "sft",
        validate,
        micro,
        packed=config.packing == "documents",
        settle=watch.settle if watch is not None else None,
        kernel=config.loss_kernel,
    )
    train(config, plan, policy, tokenizer, work, ranks)
    work.summarise(examples=len(examples), epochs=round(steps * config.batch_size / len(examples), 2))
