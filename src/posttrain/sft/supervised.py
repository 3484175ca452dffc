"""The supervised loop: batches by seed, micro-batches by token budget, one aggregator, exact resume.

Left out on purpose: data loaders with workers (sequences of a small model's data fit in memory), mixed losses, and
any state that is not a function of (seed, step) or saved by the Saver.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from posttrain.errors import TrainingError
from posttrain.models import token_stats
from posttrain.models.liger import summed_nll
from posttrain.sft.config import LossKernel
from posttrain.training.aggregation import Aggregation, Denominators, token_weights
from posttrain.training.batches import Masked, MicroBatch, batch_indices, micro_batches
from posttrain.training.checkpoint import Saver
from posttrain.training.config import TrainingConfig
from posttrain.training.distributed import Ranks
from posttrain.training.keeper import Keeper
from posttrain.training.plot import draw_loss
from posttrain.training.policy import identity
from posttrain.training.tokenise import tokenizer_digest
from posttrain.training.update import Updater, autocast, memory_watched, seeded

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from posttrain.stage import Workspace


@dataclass(frozen=True, slots=True)
class Plan:
    """What the loop trains on and for how long. `validate` is called after step numbers it chooses itself.

    micro_tokens: of a micro-batch; None = the config's token_budget. packed: micro-batches are best-fit packs.
    settle: waits for scores that `validate` left to another process; called after the last step.
    """

    sequences: Sequence[Masked]
    batch_size: int
    steps: int
    aggregation: Aggregation
    label: str
    validate: Callable[[int], dict[str, float]] | None = None
    micro_tokens: int | None = None
    packed: bool = False
    settle: Callable[[], None] | None = None
    kernel: LossKernel = "ours"

    def cut(self, batch: Sequence[Masked], budget: int, pad_id: int, device: str) -> list[MicroBatch]:
        """The micro-batches of one optimizer step."""
        return micro_batches(batch, self.micro_tokens or budget, pad_id, device, padded=not self.packed)


def train(
    config: TrainingConfig,
    plan: Plan,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    work: Workspace,
    ranks: Ranks | None = None,
) -> None:
    """Trains in place and writes `model/`. Every step depends on (seed, step) and the state that the Saver keeps."""
    ranks = ranks or Ranks()
    pad_id = int(tokenizer.pad_token_id)
    updater = Updater.make(model, config.optimizer, plan.steps, ranks)
    whose = identity(config, model, tokenizer_digest(tokenizer))
    saver = Saver(work.state, model, updater.optimizer, every=config.save_every, ranks=ranks, identity=whose)
    keeper = Keeper.make(config, model, tokenizer, work, ranks)
    start, counters = saver.restore()
    work.metrics.rewind(start or -1)  # a fresh start logs its step 0 again
    tokens_seen = int(counters.get("tokens", 0))
    seconds = float(counters.get("seconds", 0.0))
    if start == 0 and plan.validate is not None and (scores := plan.validate(0)):
        work.metrics.log(0, **scores)

    model.train()
    done = start
    with work.progress(plan.steps, plan.label, "steps") as bar, memory_watched(config):
        bar.skip(start)
        for step in range(start, plan.steps):
            began = time.perf_counter()
            try:
                row = _step(config, plan, model, updater, work.seed, step, pad_id)
            except TrainingError:  # the gradient is not finite: nothing has moved since `step` steps were done
                saver.save(step, {"tokens": tokens_seen, "seconds": seconds})
                raise
            taken = time.perf_counter() - began
            tokens_seen += int(row["tokens"])
            seconds += taken
            done = step + 1
            work.metrics.log(done, **row, tokens_seen=tokens_seen, seconds=seconds, tokens_per_s=row["tokens"] / taken)
            bar.update(1, loss=row["loss"])
            if plan.validate is not None and (scores := plan.validate(done)):
                work.metrics.log(done, **scores)
                model.train()
            keeper.step(done, plan.steps)
            if keeper.stopped(done):
                break
            if done < plan.steps:
                saver.maybe(done, {"tokens": tokens_seen, "seconds": seconds})

    model.eval()
    if plan.settle is not None:
        plan.settle()  # scores that are still on their way count when the best is chosen, and belong into the picture
    keeper.finish(done, probe=[s.ids for s in plan.sequences[:8]])
    rows = work.metrics.read()
    if ranks.first:
        draw_loss(rows, work.dir / "loss.png")
    losses = [r["loss"] for r in rows if "loss" in r]
    work.summarise(steps=done, loss_first=losses[0], loss_last=losses[-1], tokens=tokens_seen, seconds=seconds)


def _step(
    config: TrainingConfig,
    plan: Plan,
    model: PreTrainedModel,
    updater: Updater,
    seed: int,
    step: int,
    pad_id: int,
) -> dict[str, Any]:
    """One optimizer step on the batch that (seed, step) draws; this rank computes its share of it."""
    ranks = updater.ranks
    chosen = batch_indices(len(plan.sequences), plan.batch_size, seed, step)
    mine, counts = ranks.share([plan.sequences[i] for i in chosen])
    micros = plan.cut(mine, config.token_budget, pad_id, str(model.device))
    seeded(seed, step, ranks.rank)
    told = (config, plan.aggregation, micros, len(chosen), model, updater, step, named(chosen))
    return supervised_step(*told, counts=counts, kernel=plan.kernel)


def named(chosen: Sequence[int]) -> str:
    """A batch by the positions of its examples, so that one can look at them."""
    shown = ", ".join(map(str, chosen[:8])) + (" …" if len(chosen) > 8 else "")
    return f"a batch of {len(chosen)} sequences (examples {shown})"


def supervised_step(
    config: TrainingConfig,
    aggregation: Aggregation,
    micros: Sequence[MicroBatch],
    sequences: int,
    model: PreTrainedModel,
    updater: Updater,
    step: int,
    what: str = "a batch",
    *,
    counts: bool = True,
    kernel: LossKernel = "ours",
) -> dict[str, Any]:
    """One optimizer step on a batch of `sequences`; returns its metrics (loss, entropy and accuracy are over supervised
    tokens).

    micros: this rank's share of the batch; denominators and metrics are those of the whole. counts: False where the
    share is borrowed, so that this rank has something to run. what: names the batch in errors.
    kernel: what computes the loss.
    """
    ranks = updater.ranks
    local = [sum(int(m.row.shape[0]) for m in micros), sum(m.real_tokens for m in micros)] if counts else [0, 0]
    supervised, tokens = (int(n) for n in ranks.total(local))
    of = Denominators(sequences=sequences, tokens=supervised)
    sums = [0.0] * 4  # loss, negative log-likelihood, entropy, hits
    rounds = ranks.most(len(micros))
    for i in range(rounds):
        micro = micros[i % len(micros)]
        real = counts and i < len(micros)  # else only there so that all ranks run as many passes
        with ranks.syncing(i == rounds - 1):
            loss, found = _loss(kernel, config.dtype, token_weights(aggregation, micro.row, of), micro, model, ranks)
            ranks.backward(loss if real else loss * 0)
        if real:
            sums = [total + float(value) for total, value in zip(sums, found, strict=True)]
    loss_sum, nll, entropy, top1 = ranks.total(sums)
    applied = updater.apply(step, what)
    seen = {"token_accuracy": top1 / supervised, "entropy": entropy / supervised} if kernel == "ours" else {}
    return {
        "loss": loss_sum,
        "nll": nll / supervised,
        **seen,
        "tokens": tokens,
        "supervised_tokens": supervised,
        **applied,
    }


def _loss(
    kernel: LossKernel, dtype: str, weights: Tensor, micro: MicroBatch, model: PreTrainedModel, ranks: Ranks
) -> tuple[Tensor, tuple[Tensor | float, ...]]:
    """The loss of a micro-batch, and (loss, negative log-likelihood, entropy, hits) summed over its tokens.

    liger looks at no logits, so there is neither entropy nor hits.
    """
    if kernel == "liger":
        with autocast(dtype, str(model.device)):
            nll = ranks.call(summed_nll, model, micro.ids, micro.row, micro.col)
        loss = nll * weights[0]  # of sft's aggregations each gives all tokens one weight
        return loss, (loss.detach(), nll.detach(), 0.0, 0.0)
    with autocast(dtype, str(model.device)):
        stats = ranks.call(token_stats, model, micro.ids, micro.row, micro.col)
    loss = -(stats.logprobs * weights).sum()
    return loss, (loss.detach(), -stats.logprobs.detach().sum(), stats.entropy.sum(), stats.top1.sum())
