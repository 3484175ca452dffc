"""`dpo`: pairs to tokens, the reference's log-probabilities once, then steps over pairs.

Left out on purpose: a reference model beside the policy. The reference is the starting weights, so what it says of
every pair is taken in one pass before the first step, and a resumed run takes it again from the same weights.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from posttrain.errors import DataError
from posttrain.models import load_tokenizer, token_stats
from posttrain.preference.config import DPOConfig
from posttrain.preference.losses import LOSSES, Pair
from posttrain.preference.pairs import read_pairs
from posttrain.prompts import get_template
from posttrain.training.batches import MicroBatch, batch_indices, micro_batches, steps_of_epochs
from posttrain.training.checkpoint import Saver
from posttrain.training.distributed import Ranks
from posttrain.training.keeper import Keeper
from posttrain.training.plot import draw_loss
from posttrain.training.policy import identity, load_policy
from posttrain.training.tokenise import check_tokenizer, tokenizer_digest
from posttrain.training.update import Updater, autocast, memory_watched, seeded

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from posttrain.prompts import Example
    from posttrain.records import Sample
    from posttrain.stage import Workspace
    from posttrain.store import Checkpoint, Samples

Examples = tuple["Example", "Example"]  # chosen, rejected


@dataclass(frozen=True, slots=True)
class Told:
    """A pair and what the reference says of its two sequences."""

    pair: Examples
    reference: tuple[float, float]

    @property
    def ids(self) -> Sequence[int]:
        """Those of the longer sequence: pairs are dealt out to ranks by length."""
        return max((one.ids for one in self.pair), key=len)


def prefer(config: DPOConfig, model: Checkpoint, pairs: Samples, work: Workspace, ranks: Ranks) -> None:
    """What `dpo` does in every rank: trains from `model` and writes `model/` and metrics."""
    tokenizer = load_tokenizer(model.ref, revision=model.revision)
    policy = load_policy(config, model, work)
    check_tokenizer(policy, tokenizer, model)
    examples = tokenise_pairs(read_pairs(pairs.read()), config, tokenizer, work)
    steps = config.steps or steps_of_epochs(len(examples), config.batch_size, config.epochs or 1)
    pad_id = int(tokenizer.pad_token_id)
    reference = reference_sums(config, examples, policy, pad_id, ranks)
    told = [Told(pair, says) for pair, says in zip(examples, reference, strict=True)]
    updater = Updater.make(policy, config.optimizer, steps, ranks)
    whose = identity(config, policy, tokenizer_digest(tokenizer))
    saver = Saver(work.state, policy, updater.optimizer, every=config.save_every, ranks=ranks, identity=whose)
    keeper = Keeper.make(config, policy, tokenizer, work, ranks)
    start, counters = saver.restore()
    seconds = float(counters.get("seconds", 0.0))
    work.metrics.rewind(start or -1)
    with work.progress(steps, "dpo", "steps") as bar, memory_watched(config):
        bar.skip(start)
        for step in range(start, steps):
            began, done = time.perf_counter(), step + 1
            chosen = batch_indices(len(examples), config.batch_size, work.seed, step)
            mine, counts = ranks.share([told[i] for i in chosen])
            seeded(work.seed, step, ranks.rank)
            row = preference_step(config, mine, len(chosen), policy, updater, step, pad_id, counts=counts)
            seconds += time.perf_counter() - began
            work.metrics.log(done, **row, seconds=seconds)
            bar.update(1, loss=row["loss"], accuracy=row["preference_accuracy"])
            keeper.step(done, steps)
            if done < steps:
                saver.maybe(done, {"seconds": seconds})
    keeper.finish(steps, probe=[chosen.ids for chosen, _ in examples[:8]])
    rows = [r for r in work.metrics.read() if "loss" in r]
    if ranks.first:
        draw_loss(rows, work.dir / "loss.png")
    work.summarise(
        steps=steps, pairs=len(examples), loss_first=rows[0]["loss"], loss_last=rows[-1]["loss"], seconds=seconds
    )


def tokenise_pairs(
    pairs: Sequence[tuple[Sample, Sample]], config: DPOConfig, tokenizer: PreTrainedTokenizerBase, work: Workspace
) -> list[Examples]:
    """Pairs as supervised examples; those with one over max_tokens are dropped and counted. DataError for none."""
    template = get_template(config.template)
    made = [
        (
            template.example(chosen.question, chosen.response, tokenizer),
            template.example(rejected.question, rejected.response, tokenizer),
        )
        for chosen, rejected in pairs
    ]
    kept = [pair for pair in made if all(len(e.ids) <= config.max_tokens and any(e.mask) for e in pair)]
    if not kept:
        raise DataError(
            f"none of {len(made)} pairs fits into max_tokens {config.max_tokens}. Raise it, or make shorter pairs."
        )
    if len(kept) < len(made):
        work.note(f"{len(made) - len(kept)} of {len(made)} pairs left out: longer than {config.max_tokens} tokens")
    return kept


@dataclass(frozen=True, slots=True)
class Sums:
    """Log-probabilities of each sequence of a micro-batch, summed over its response [members], and their lengths."""

    members: tuple[int, ...]
    logprobs: Tensor
    lengths: Tensor


def _sums(policy: PreTrainedModel, micro: MicroBatch, dtype: str, ranks: Ranks) -> Sums:
    with autocast(dtype, str(policy.device)):
        stats = ranks.call(token_stats, policy, micro.ids, micro.row, micro.col)
    count = len(micro.members)
    total = torch.zeros(count, device=stats.logprobs.device).index_add(0, micro.row, stats.logprobs)
    return Sums(micro.members, total, torch.bincount(micro.row, minlength=count).float())


def reference_sums(
    config: DPOConfig,
    examples: Sequence[Examples],
    policy: PreTrainedModel,
    pad_id: int,
    ranks: Ranks | None = None,
) -> list[tuple[float, float]]:
    """What the starting weights say of (chosen, rejected) of each pair. Each rank asks for its part, all get all.

    The policy is not distributed yet.
    """
    ranks, alone = ranks or Ranks(), Ranks()
    flat = [e for pair in examples for e in pair]
    found = [0.0] * len(flat)
    mine = range(ranks.rank, len(flat), ranks.size)
    with torch.no_grad():
        for micro in micro_batches([flat[i] for i in mine], config.token_budget, pad_id, str(policy.device)):
            said = _sums(policy, micro, config.dtype, alone).logprobs.tolist()
            for member, value in zip(micro.members, said, strict=True):
                found[mine[member]] = value
    found = ranks.total(found)
    return list(zip(found[::2], found[1::2], strict=True))


def preference_step(
    config: DPOConfig,
    mine: Sequence[Told],
    pairs: int,
    policy: PreTrainedModel,
    updater: Updater,
    step: int,
    pad_id: int,
    *,
    counts: bool = True,
) -> dict[str, float]:
    """One optimizer step on a batch of `pairs`; returns its metrics.

    mine: this rank's share of the batch. counts: False where that is borrowed, so that this rank has something to run.
    A pair's sequences stay in one micro-batch: the loss is not a sum over tokens.
    """
    ranks = updater.ranks
    names = ("loss", "preference_accuracy", "margin", "chosen_change", "rejected_change")
    totals = dict.fromkeys(names, 0.0)
    groups = _groups(mine, config.token_budget)
    rounds = ranks.most(len(groups))
    for i in range(rounds):
        real = counts and i < len(groups)  # else only there so that all ranks run as many passes
        with ranks.syncing(i == rounds - 1):
            pair = _changes(config, groups[i % len(groups)], policy, pad_id, ranks)
            losses = LOSSES[config.loss](pair, config.beta)
            loss = losses.sum() / pairs
            ranks.backward(loss if real else loss * 0)
        if not real:
            continue
        margin = (pair.chosen - pair.rejected).detach()
        found = {
            "loss": losses.detach(),
            "preference_accuracy": (margin > 0).float(),
            "margin": config.beta * margin,
            "chosen_change": pair.chosen.detach(),
            "rejected_change": pair.rejected.detach(),
        }
        for name, value in found.items():
            totals[name] += float(value.sum()) / pairs
    whole = dict(zip(names, ranks.total([totals[name] for name in names]), strict=True))
    return {**whole, **updater.apply(step, f"a batch of {pairs} pairs")}


def _groups(mine: Sequence[Told], budget: int) -> list[list[Told]]:
    """Pairs of like length together, for less padding, as many as the budget takes."""
    each = max(1, budget // max(2 * len(told.ids) for told in mine))
    order = sorted(mine, key=lambda told: len(told.ids))
    return [order[begin : begin + each] for begin in range(0, len(order), each)]


def _changes(config: DPOConfig, group: Sequence[Told], policy: PreTrainedModel, pad_id: int, ranks: Ranks) -> Pair:
    """What the policy says of each pair, less what the reference said."""
    flat = [e for told in group for e in told.pair]
    (micro,) = micro_batches(flat, 1 << 60, pad_id, str(policy.device))
    sums = _sums(policy, micro, config.dtype, ranks)
    back = torch.tensor(sorted(range(len(flat)), key=lambda k: sums.members[k]), device=sums.logprobs.device)
    old = torch.tensor([value for told in group for value in told.reference], device=sums.logprobs.device)
    change, lengths = sums.logprobs[back] - old, sums.lengths[back]
    return Pair(change[::2], change[1::2], lengths[::2], lengths[1::2])
