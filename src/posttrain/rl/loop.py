"""GRPO and its relatives on verifiable rewards, from top to bottom.

    draw prompts → groups of rollouts from the trainer's own weights → verdicts → rewards → advantages
    → micro-batches → clipped objective through the one aggregator → optimizer step → checkpoint, validation

What this loop leaves out: a critic, a learned reward model, stale rollouts (weights never move between sampling and
training) and therefore any correction for them. With `updates: 1` every rollout is used once, on-policy, and
logπ_old is this very forward pass: the ratio is exactly 1.
"""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from posttrain.engines.native import NativeEngine
from posttrain.errors import EngineError, TrainingError
from posttrain.models import load_model, load_tokenizer, pick_device, token_stats
from posttrain.prompts import get_template
from posttrain.records import samples_to_tables
from posttrain.rl.certificate import certify_start
from posttrain.rl.config import RLConfig
from posttrain.rl.diagnoses import diagnose
from posttrain.rl.objectives import Tokens, kl_k3, ppo_clip
from posttrain.rl.rewards import load_function
from posttrain.rl.rollouts import Batch, Rollout, sample_batch
from posttrain.store import Checkpoint, Problems, write_table
from posttrain.training.aggregation import Denominators, token_weights
from posttrain.training.batches import MicroBatch, batch_indices, micro_batches
from posttrain.training.checkpoint import Saver
from posttrain.training.tokenise import check_tokenizer, save_checkpoint
from posttrain.training.update import Updater, autocast
from posttrain.training.validation import open_validation

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from posttrain.stage import Workspace


def reinforce(config: RLConfig, model: Checkpoint, problems: Problems, work: Workspace) -> None:
    """Trains from `model` and writes `model/`, rollouts, metrics and certificate lines."""
    tokenizer = load_tokenizer(model.ref, revision=model.revision)
    policy = load_model(model.ref, revision=model.revision, device=pick_device(work.device))
    check_tokenizer(policy, tokenizer, model)
    template = get_template(config.template)
    train_problems = problems.read(config.split)
    reward = load_function(config.reward.function) if config.reward.function else None
    reference = copy.deepcopy(policy).requires_grad_(False) if config.kl else None
    engine = NativeEngine(policy, pad_id=int(tokenizer.pad_token_id), max_batch=config.max_batch, tokenizer=tokenizer)
    learner = Learner(config, policy, reference, Updater.make(policy, config.optimizer, config.steps * config.updates))
    saver = Saver(work.state, policy, learner.updater.optimizer, every=config.save_every)
    validator = open_validation(
        config.validation, problems, policy, tokenizer, config.template, work, grading=config.grading
    )

    start, counters = saver.restore()
    seconds = float(counters.get("seconds", 0.0))
    work.metrics.rewind(start or -1)  # a fresh start logs its step 0 again
    if start == 0 and validator is not None and (scores := validator.maybe(0, config.steps)):
        work.metrics.log(0, **scores)
    with work.progress(config.steps, "rl", "steps") as bar:
        bar.skip(start)
        for step in range(start, config.steps):
            began = time.perf_counter()
            drawn = batch_indices(len(train_problems), config.prompts, work.seed, step)
            chosen = [train_problems[i] for i in dict.fromkeys(drawn)]  # a problem drawn twice is one group
            try:
                batch = sample_batch(config, chosen, engine, tokenizer, template, reward, seed=work.seed, step=step + 1)
            except (EngineError, TrainingError):
                saver.save(step, {"seconds": seconds})  # weights are those after `step` steps: nothing is lost
                raise
            if step == 0:
                certify_start(config, batch.rollouts, policy, int(tokenizer.pad_token_id), work)
            trained = learner.learn(batch.rollouts, step, int(tokenizer.pad_token_id))
            taken = time.perf_counter() - began
            seconds += taken
            done = step + 1
            if config.keep_rollouts and done % config.keep_rollouts == 0:
                _store(batch, done, work)
            speed = {"seconds": seconds, "samples_per_s": len(batch.samples) / taken}
            work.metrics.log(done, **batch.metrics, **trained, **speed)
            bar.update(1, reward=batch.metrics["reward"], accuracy=batch.metrics["accuracy"])
            if validator is not None and (scores := validator.maybe(done, config.steps)):
                work.metrics.log(done, **scores)
            if config.checkpoint_every and done % config.checkpoint_every == 0 and done < config.steps:
                save_checkpoint(policy, tokenizer, work.dir / "checkpoints" / f"step-{done:06d}", step=done)
            if done < config.steps:
                saver.maybe(done, {"seconds": seconds})

    save_checkpoint(policy, tokenizer, work.dir / "model", step=config.steps)
    rows = work.metrics.read()
    for note in (notes := diagnose(rows)):
        work.note(note)
    steps = [r for r in rows if "reward" in r]
    work.summarise(
        steps=config.steps,
        reward_first=steps[0]["reward"],
        reward_last=steps[-1]["reward"],
        rollouts=sum(int(r["rollouts"]) for r in steps),
        seconds=seconds,
        notes=notes,
    )


@dataclass(slots=True)
class Learner:
    """The update: from rollouts with advantages to optimizer steps."""

    config: RLConfig
    policy: PreTrainedModel
    reference: PreTrainedModel | None
    updater: Updater

    def learn(self, rollouts: list[Rollout], step: int, pad_id: int) -> dict[str, float]:
        """`updates` optimizer steps over disjoint parts of the batch; returns the step's training metrics.

        A batch without any signal (every advantage 0, no KL) moves nothing: not even Adam's moments.
        """
        began = time.perf_counter()
        # A rollout with advantage 0 has no gradient: it counts in the denominators and costs no forward pass.
        useful = [r for r in rollouts if r.advantage != 0] if self.config.kl == 0 else rollouts
        if not useful:
            return {"seconds_training": 0.0, "updates": 0}
        of = Denominators(
            sequences=-(-len(rollouts) // self.config.updates),
            tokens=-(-sum(sum(r.mask) for r in rollouts) // self.config.updates),
            limit=self.config.max_tokens,
        )
        totals: dict[str, float] = {}
        parts = [part for i in range(self.config.updates) if (part := useful[i :: self.config.updates])]
        micros = [micro_batches(part, self.config.token_budget, pad_id, str(self.policy.device)) for part in parts]
        # One update: logπ_old is the training forward pass itself. Several: it must be taken before any of them.
        olds = [[self._logprobs(m) for m in ms] for ms in micros] if self.config.updates > 1 else None
        for i, (part, part_micros) in enumerate(zip(parts, micros, strict=True)):
            row = self._update(part, part_micros, olds[i] if olds else None, of, step * self.config.updates + i)
            for name, value in row.items():
                totals[name] = totals.get(name, 0.0) + value / len(parts)
        return {**totals, "seconds_training": time.perf_counter() - began, "updates": len(parts)}

    def _update(
        self, part: list[Rollout], micros: list[MicroBatch], olds: list[Tensor] | None, of: Denominators, update: int
    ) -> dict[str, float]:
        tokens = sum(int(m.row.shape[0]) for m in micros)
        sums = dict.fromkeys(("loss", "entropy", "ratio_sum", "clipped", "mismatch", "mismatch_k3", "kl"), 0.0)
        ratio_off = 0.0
        for i, micro in enumerate(micros):
            with autocast(self.config.dtype, str(self.policy.device)):
                stats = token_stats(self.policy, micro.ids, micro.row, micro.col, temperature=self.config.temperature)
            old = olds[i] if olds is not None else stats.logprobs.detach()
            advantages = torch.tensor([part[m].advantage for m in micro.members], device=micro.ids.device)[micro.row]
            record = Tokens(stats.logprobs, old, advantages)
            losses, clipped = ppo_clip(record, self.config.clip_low, self.config.clip_high)
            if self.reference is not None:
                kl = kl_k3(stats.logprobs, self._logprobs(micro, self.reference))
                losses = losses + self.config.kl * kl
                sums["kl"] += float(kl.detach().sum())
            loss = (losses * token_weights(self.config.aggregation, micro.row, of)).sum()
            loss.backward()  # type: ignore[no-untyped-call]
            with torch.no_grad():
                ratio = torch.exp(stats.logprobs - old)
                drift = old - micro.gather([r.sampled for r in part])  # logπ_old − logμ
                ratio_off = max(ratio_off, float((ratio - 1).abs().max()))
                sums["loss"] += float(loss)
                sums["entropy"] += float(stats.entropy.sum())
                sums["ratio_sum"] += float(ratio.sum())
                sums["clipped"] += float(clipped.sum())
                sums["mismatch"] += float(drift.abs().sum())
                sums["mismatch_k3"] += float((torch.exp(drift) - drift - 1).sum())
        applied = self.updater.apply(update, f"update {update + 1} of {len(part)} rollouts")
        return {
            "loss": sums["loss"],
            "entropy": sums["entropy"] / tokens,
            "ratio": sums["ratio_sum"] / tokens,
            "ratio_off": ratio_off,
            "clip_fraction": sums["clipped"] / tokens,
            "mismatch": sums["mismatch"] / tokens,
            "mismatch_kl": sums["mismatch_k3"] / tokens,
            "kl": sums["kl"] / tokens,
            **applied,
        }

    def _logprobs(self, micro: MicroBatch, model: PreTrainedModel | None = None) -> Tensor:
        with torch.no_grad(), autocast(self.config.dtype, str(self.policy.device)):
            return token_stats(
                model if model is not None else self.policy,
                micro.ids,
                micro.row,
                micro.col,
                temperature=self.config.temperature,
            ).logprobs


def _store(batch: Batch, step: int, work: Workspace) -> None:
    generations, verdicts = samples_to_tables(batch.samples)
    folder = work.dir / "rollouts" / f"step-{step:06d}"
    write_table(folder / "samples.parquet", generations)
    write_table(folder / "verdicts.parquet", verdicts)
