"""The update: from rollouts with advantages to optimizer steps."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from posttrain.models import TokenStats, token_stats
from posttrain.models.forward import supports
from posttrain.rl.algorithms.correction import Correction
from posttrain.rl.algorithms.divergence import kl_estimate
from posttrain.rl.algorithms.loss import Row, policy_loss
from posttrain.rl.algorithms.objectives import Clip, Tokens
from posttrain.rl.config import RLConfig
from posttrain.rl.journal import Key, Watched
from posttrain.rl.rollouts import Rollout
from posttrain.training.aggregation import Denominators
from posttrain.training.batches import MicroBatch, best_fit, collate, micro_batches
from posttrain.training.distributed import Ranks
from posttrain.training.update import Updater, autocast

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MEANS = ("ratio", "clip_fraction", "mismatch", "mismatch_kl", "kl", "entropy", "corrected")  # per token of the update


@dataclass(frozen=True, slots=True)
class Reference:
    """The starting weights: a frozen copy, or the policy itself with its adapters off (`scope`)."""

    model: PreTrainedModel
    scope: Callable[[], AbstractContextManager[object]] = contextlib.nullcontext


def row_of(config: RLConfig) -> Row:
    """The algorithm of a config, as the loss reads it."""
    c = config.correction
    return Row(
        objective=config.objective,
        aggregation=config.aggregation,
        clip=Clip(config.clip_low, config.clip_high, config.dual_clip),
        kl=config.kl,
        kl_estimator=config.kl_estimator,
        correction=Correction(config.corrected, c.level, c.low, c.high),
    )


@dataclass(frozen=True, slots=True)
class _Group:
    """Rollouts of one prompt: they stay together, for what they begin with is computed once."""

    rollouts: list[Rollout]

    @property
    def ids(self) -> Sequence[int]:
        return [i for r in self.rollouts for i in r.ids]


@dataclass(frozen=True, slots=True)
class _Share:
    """What this rank learns from in one update `of` so many rollouts. counts: False where it is only borrowed."""

    rollouts: Sequence[Rollout]
    of: int
    counts: bool

    @classmethod
    def of_update(cls, part: Sequence[Rollout], ranks: Ranks) -> _Share:
        if ranks.size == 1:
            return cls(part, len(part), True)
        groups: dict[object, _Group] = {}
        for i, rollout in enumerate(part):
            groups.setdefault(rollout.key[0] or i, _Group([])).rollouts.append(rollout)
        mine, counts = ranks.share(list(groups.values()))
        return cls([r for group in mine for r in group.rollouts], len(part), counts)


@dataclass(slots=True)
class Learner:
    """`trust_sampler`: logμ is logπ_old, so that no forward pass is needed for it (native engine, float32, fresh)."""

    config: RLConfig
    policy: PreTrainedModel
    reference: Reference | None
    updater: Updater
    trust_sampler: bool = False
    watch: set[Key] = field(default_factory=set)  # rollouts whose tokens are wanted
    watched: dict[Key, Watched] = field(default_factory=dict)

    @property
    def ranks(self) -> Ranks:
        """The processes that learn together. Each has every rollout, and learns from its share."""
        return self.updater.ranks

    @property
    def steps_per_batch(self) -> int:
        return self.config.updates * self.config.passes

    def learn(self, rollouts: Sequence[Rollout], step: int, pad_id: int) -> dict[str, float]:
        """`passes` times `updates` optimizer steps over disjoint parts of the batch; the step's training metrics.

        A batch without any signal (every advantage 0, no KL) moves nothing: not even Adam's moments.
        """
        began = time.perf_counter()
        self.watched = {}
        # A rollout with advantage 0 has no gradient: it counts in the denominators and costs no forward pass.
        needed = self._in_loss()
        useful = [r for r in rollouts if r.mask and any(r.mask) and (needed or r.advantage != 0)]
        if not useful:
            return {"seconds_training": 0.0, "updates": 0}
        of = Denominators(
            sequences=-(-len(rollouts) // self.config.updates),
            tokens=-(-sum(sum(r.mask) for r in rollouts) // self.config.updates),
            limit=self.config.max_tokens,
        )
        parts = [part for i in range(self.config.updates) if (part := useful[i :: self.config.updates])]
        shares = [_Share.of_update(part, self.ranks) for part in parts]
        micros = [self._cut(share.rollouts, pad_id) for share in shares]
        olds = self._old(shares, micros)
        totals: dict[str, float] = {}
        done, ratio_off = 0, 0.0
        for _ in range(self.config.passes):
            for share, ms, old in zip(shares, micros, olds, strict=True):
                row = self._update(share, ms, old, of, step * self.steps_per_batch + done)
                done += 1
                ratio_off = max(ratio_off, row.pop("ratio_off"))
                for name, value in row.items():
                    totals[name] = totals.get(name, 0.0) + value
        means = {name: value / done for name, value in totals.items()} | {"ratio_off": ratio_off}
        seconds = time.perf_counter() - began
        mine = sum(m.real_tokens for share, ms in zip(shares, micros, strict=True) if share.counts for m in ms)
        (tokens,) = self.ranks.total([mine])
        trained = int(tokens) * self.config.passes
        return {**means, "seconds_training": seconds, "updates": done, "trained_tokens": trained}

    def _cut(self, part: Sequence[Rollout], pad_id: int) -> list[MicroBatch]:
        """Micro-batches under the token budget.

        Where the forward pass computes a common beginning once, rollouts of one prompt stand together.
        """
        budget, device = self.config.token_budget, str(self.policy.device)
        if not supports(self.policy):
            return micro_batches(part, budget, pad_id, device)
        pieces: list[list[int]] = []
        sizes: list[int] = []
        for i in sorted(range(len(part)), key=lambda i: (part[i].key[0], i)):
            answer = sum(part[i].mask)
            same = bool(pieces) and part[pieces[-1][0]].key[0] == part[i].key[0] != ""
            if same and sizes[-1] + answer <= budget:
                pieces[-1].append(i)
                sizes[-1] += answer
            else:
                pieces.append([i])
                sizes.append(len(part[i].ids))
        bins = best_fit(sizes, budget)
        return [collate(part, [i for piece in chosen for i in pieces[piece]], pad_id, device) for chosen in bins]

    def _in_loss(self) -> bool:
        return self.reference is not None and self.config.kl_in == "loss"

    def _old(self, shares: Sequence[_Share], micros: Sequence[Sequence[MicroBatch]]) -> list[list[Tensor]]:
        """logπ_old of each micro-batch, where it must be known before the first update; an empty list per part else.

        The first part's own forward pass is still that of the old weights: it fills its list itself.
        """
        olds: list[list[Tensor]] = [[] for _ in shares]
        for share, ms, old in list(zip(shares, micros, olds, strict=True))[1:]:
            if self.trust_sampler:
                old += [micro.gather([r.sampled for r in share.rollouts]) for micro in ms]
                continue
            rounds = self.ranks.most(len(ms))  # weights in parts are put together by all ranks at once
            old += [self.logprobs(ms[i % len(ms)]) for i in range(rounds)][: len(ms)]
        return olds

    def _update(
        self, share: _Share, micros: Sequence[MicroBatch], olds: list[Tensor], of: Denominators, update: int
    ) -> dict[str, float]:
        row, device, part = row_of(self.config), str(self.policy.device), share.rollouts
        sums: dict[str, float] = {}
        tokens, ratio_off, fresh = 0, 0.0, not olds
        rounds = self.ranks.most(len(micros))
        for i in range(rounds):
            micro = micros[i % len(micros)]
            real = share.counts and i < len(micros)  # else only there so that all ranks run as many passes
            with self.ranks.syncing(i == rounds - 1):
                stats = self._stats(micro)
                if fresh and i < len(micros):
                    olds.append(stats.logprobs.detach())
                advantages = torch.tensor([part[m].advantage for m in micro.members], device=device)
                record = Tokens(stats.logprobs, olds[i % len(micros)], advantages[micro.row], micro.row)
                sampled = micro.gather([r.sampled for r in part])
                reference = self.logprobs(micro, self.reference) if self._in_loss() else None
                loss, found = policy_loss(row, record, sampled, of, reference)
                self.ranks.backward(loss if real else loss * 0)
            if real and self.watch:
                self._look(part, micro, stats)
            off = found.pop("ratio_off")
            ratio_off = max(ratio_off, off) if real else ratio_off
            found["entropy"] = float(stats.entropy.sum())
            for name, value in found.items():
                sums[name] = sums.get(name, 0.0) + (value if real else 0.0)
            tokens += int(micro.row.shape[0]) if real else 0
        *values, total = self.ranks.total([*sums.values(), tokens])
        sums = dict(zip(sums, values, strict=True))
        applied = self.updater.apply(update, f"update {update + 1} of {share.of} rollouts")
        means = {name: sums[name] / total for name in MEANS if name in sums}
        sampling = {"ess": sums["w"] ** 2 / (sums["w_squared"] * total) if sums["w_squared"] else math.nan}
        ratio_off = self.ranks.largest(ratio_off)
        return {"loss": sums["loss"], **means, **sampling, "ratio_off": ratio_off, **applied}

    def _stats(self, micro: MicroBatch) -> TokenStats:
        """Of a micro-batch's supervised tokens under the policy, with what all ranks do together."""
        with autocast(self.config.dtype, str(self.policy.device)):
            return self.ranks.call(
                token_stats, self.policy, micro.ids, micro.row, micro.col, temperature=self.config.temperature
            )

    def _look(self, part: Sequence[Rollout], micro: MicroBatch, stats: TokenStats) -> None:
        lengths = torch.bincount(micro.row, minlength=len(micro.members)).tolist()
        pieces = zip(torch.split(stats.logprobs.detach(), lengths), torch.split(stats.entropy, lengths), strict=True)
        for member, (logprobs, entropy) in zip(micro.members, pieces, strict=True):
            key = part[member].key
            if key in self.watch and key not in self.watched:
                self.watched[key] = Watched(logprobs.tolist(), entropy.tolist())

    def logprobs(self, micro: MicroBatch, reference: Reference | None = None) -> Tensor:
        """logπ [n] of a micro-batch's supervised tokens, or logπ_ref; no gradient."""
        if reference is None:
            with torch.no_grad():
                return self._stats(micro).logprobs
        with torch.no_grad(), reference.scope(), autocast(self.config.dtype, str(self.policy.device)):
            stats = token_stats(reference.model, micro.ids, micro.row, micro.col, temperature=self.config.temperature)
            return stats.logprobs

    def distances(self, rollouts: Sequence[Rollout], pad_id: int) -> list[float]:
        """Σ_t of the KL estimate between the sampler and the reference, per rollout: for `kl_in: reward`."""
        assert self.reference is not None
        sums = [0.0] * len(rollouts)
        for micro in micro_batches(rollouts, self.config.token_budget, pad_id, str(self.policy.device)):
            sampled = micro.gather([r.sampled for r in rollouts])
            kl = kl_estimate(self.config.kl_estimator, sampled, self.logprobs(micro, self.reference))
            total = torch.zeros(len(micro.members), device=kl.device).index_add_(0, micro.row, kl)
            for member, value in zip(micro.members, total.tolist(), strict=True):
                sums[member] = value
        return sums
