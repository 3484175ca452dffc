"""The supervised loop: batches by seed, micro-batches by token budget, one aggregator, exact resume.

Left out on purpose: data loaders with workers (sequences of a small model's data fit in memory), mixed losses, and
any state that is not a function of (seed, step) or saved by the Saver.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from posttrain.models import token_stats
from posttrain.training.aggregation import Aggregation, Denominators, token_weights
from posttrain.training.batches import Masked, MicroBatch, batch_indices, micro_batches
from posttrain.training.checkpoint import Saver
from posttrain.training.config import TrainingConfig
from posttrain.training.plot import draw_loss
from posttrain.training.tokenise import save_checkpoint
from posttrain.training.update import Updater, autocast

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from posttrain.stage import Workspace


@dataclass(frozen=True, slots=True)
class Plan:
    """What the loop trains on and for how long. `validate` is called after step numbers it chooses itself.

    micro_tokens: of a micro-batch; None = the config's token_budget. packed: micro-batches are best-fit packs.
    """

    sequences: Sequence[Masked]
    batch_size: int
    steps: int
    aggregation: Aggregation
    label: str
    validate: Callable[[int], dict[str, float]] | None = None
    micro_tokens: int | None = None
    packed: bool = False

    def cut(self, batch: Sequence[Masked], budget: int, pad_id: int, device: str) -> list[MicroBatch]:
        """The micro-batches of one optimizer step."""
        return micro_batches(batch, self.micro_tokens or budget, pad_id, device, padded=not self.packed)


def train(
    config: TrainingConfig,
    plan: Plan,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    work: Workspace,
) -> None:
    """Trains in place and writes `model/`. Every step depends on (seed, step) and the state that the Saver keeps."""
    device = str(model.device)
    pad_id = int(tokenizer.pad_token_id)
    updater = Updater.make(model, config.optimizer, plan.steps)
    saver = Saver(work.state, model, updater.optimizer, every=config.save_every)
    start, counters = saver.restore()
    work.metrics.rewind(start or -1)  # a fresh start logs its step 0 again
    tokens_seen = int(counters.get("tokens", 0))
    seconds = float(counters.get("seconds", 0.0))
    if start == 0 and plan.validate is not None and (scores := plan.validate(0)):
        work.metrics.log(0, **scores)

    model.train()
    with work.progress(plan.steps, plan.label, "steps") as bar:
        bar.skip(start)
        for step in range(start, plan.steps):
            began = time.perf_counter()
            batch = [plan.sequences[i] for i in batch_indices(len(plan.sequences), plan.batch_size, work.seed, step)]
            micros = plan.cut(batch, config.token_budget, pad_id, device)
            row = supervised_step(config, plan.aggregation, micros, len(batch), model, updater, step)
            taken = time.perf_counter() - began
            tokens_seen += int(row["tokens"])
            seconds += taken
            done = step + 1
            work.metrics.log(done, **row, tokens_seen=tokens_seen, seconds=seconds, tokens_per_s=row["tokens"] / taken)
            bar.update(1, loss=row["loss"])
            if plan.validate is not None and (scores := plan.validate(done)):
                work.metrics.log(done, **scores)
                model.train()
            if config.checkpoint_every and done % config.checkpoint_every == 0 and done < plan.steps:
                save_checkpoint(model, tokenizer, work.dir / "checkpoints" / f"step-{done:06d}", step=done)
            if done < plan.steps:
                saver.maybe(done, {"tokens": tokens_seen, "seconds": seconds})

    model.eval()
    save_checkpoint(model, tokenizer, work.dir / "model", step=plan.steps)
    last = work.metrics.read()
    draw_loss(last, work.dir / "loss.png")
    losses = [r["loss"] for r in last if "loss" in r]
    work.summarise(steps=plan.steps, loss_first=losses[0], loss_last=losses[-1], tokens=tokens_seen, seconds=seconds)


def supervised_step(
    config: TrainingConfig,
    aggregation: Aggregation,
    micros: Sequence[MicroBatch],
    sequences: int,
    model: PreTrainedModel,
    updater: Updater,
    step: int,
) -> dict[str, Any]:
    """One optimizer step on a batch of `sequences` in micro-batches; returns its metrics (loss, entropy and accuracy
    are over supervised tokens)."""
    device = str(model.device)
    supervised = sum(int(m.row.shape[0]) for m in micros)
    of = Denominators(sequences=sequences, tokens=supervised)
    loss_sum = nll = entropy = top1 = 0.0
    for micro in micros:
        with autocast(config.dtype, device):
            stats = token_stats(model, micro.ids, micro.row, micro.col)
        loss = -(stats.logprobs * token_weights(aggregation, micro.row, of)).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        loss_sum += float(loss.detach())
        nll -= float(stats.logprobs.detach().sum())
        entropy += float(stats.entropy.sum())
        top1 += float(stats.top1.sum())
    applied = updater.apply(step, f"a batch of {sequences} sequences")
    return {
        "loss": loss_sum,
        "nll": nll / supervised,
        "token_accuracy": top1 / supervised,
        "entropy": entropy / supervised,
        "tokens": sum(m.real_tokens for m in micros),
        "supervised_tokens": supervised,
        **applied,
    }
