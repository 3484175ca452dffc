"""Groups of rollouts from the engine: drawn, sampled, graded, rewarded, and given their advantages."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from posttrain.engines.base import Engine, Prompt, Sampling
from posttrain.grading import grade_many
from posttrain.records import Completion, Problem, Sample
from posttrain.rl.advantages import group_advantages
from posttrain.rl.config import RLConfig
from posttrain.rl.rewards import Reward, UserFunction, score
from posttrain.seeding import derive

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from posttrain.prompts import Template


@dataclass(frozen=True, slots=True)
class Rollout:
    """What the loss needs of a Sample: prompt + response ids, the response mask, the sampler's log-probabilities."""

    ids: tuple[int, ...]
    mask: tuple[int, ...]
    sampled: tuple[float, ...]  # logμ of the response tokens
    advantage: float


@dataclass(frozen=True, slots=True)
class Batch:
    """One step's rollouts: every sample for the store, those with a decided reward for the loss, and the numbers."""

    samples: list[Sample]
    rollouts: list[Rollout]
    metrics: dict[str, float]


def sample_batch(
    config: RLConfig,
    problems: Sequence[Problem],
    engine: Engine,
    tokenizer: PreTrainedTokenizerBase,
    template: Template,
    reward: UserFunction | None,
    *,
    seed: int,
    step: int,
) -> Batch:
    """Sampling noise depends on (seed, step, problem, sample index) only, so a resumed step draws the same rollouts."""
    began = time.perf_counter()
    requests = [
        Prompt(p.id, tuple(template.prompt_ids(p.question, tokenizer)), derive(seed, "rollout", step, p.id))
        for p in problems
    ]
    sampling = Sampling(
        n=config.group,
        temperature=config.temperature,
        max_tokens=config.max_tokens,
        stop=template.stop,
        stop_token_ids=template.stop_token_ids(tokenizer),
    )
    completions = sorted(engine.generate(requests, sampling), key=lambda c: (c.key, c.index))
    sampled = time.perf_counter()
    samples = _graded(completions, problems, tokenizer, config.grading or template.grading, step)
    rewards = score(samples, config.reward, reward)
    samples, rollouts, metrics = _with_advantages(samples, completions, rewards, config)
    graded = time.perf_counter()
    metrics |= {"seconds_sampling": sampled - began, "seconds_grading": graded - sampled}
    return Batch(samples, rollouts, metrics)


def _graded(
    completions: Sequence[Completion],
    problems: Sequence[Problem],
    tokenizer: PreTrainedTokenizerBase,
    spec: str,
    step: int,
) -> list[Sample]:
    by_id = {p.id: p for p in problems}
    texts = tokenizer.batch_decode([list(c.token_ids) for c in completions], skip_special_tokens=True)
    verdicts = grade_many(
        [(by_id[c.key], text, c.finish_reason == "length") for c, text in zip(completions, texts, strict=True)], spec
    )
    return [
        Sample(
            problem_id=c.key,
            index=c.index,
            question=by_id[c.key].question,
            response=text,
            source="policy",
            gold=by_id[c.key].answer,
            token_ids=c.token_ids,
            logprobs=c.logprobs,
            prompt_ids=c.prompt_ids,
            finish_reason=c.finish_reason,
            weights_version=c.weights_version,
            verdict=verdict,
            step=step,
        )
        for c, text, verdict in zip(completions, texts, verdicts, strict=True)
    ]


def _with_advantages(
    samples: list[Sample], completions: Sequence[Completion], rewards: Sequence[Reward], config: RLConfig
) -> tuple[list[Sample], list[Rollout], dict[str, float]]:
    advantages: list[float | None] = [None] * len(samples)
    groups: dict[str, list[int]] = {}
    for i, s in enumerate(samples):
        if rewards[i].total is not None:
            groups.setdefault(s.problem_id, []).append(i)
    effective = 0
    for members in groups.values():
        totals = [rewards[i].total or 0.0 for i in members]
        values = group_advantages(config.advantage, totals, config.epsilon)
        effective += any(v != 0 for v in values)
        for i, value in zip(members, values, strict=True):
            advantages[i] = value
    done = [
        dataclasses.replace(s, reward=r.total, advantage=a, extra={"reward_parts": r.parts})
        for s, r, a in zip(samples, rewards, advantages, strict=True)
    ]
    rollouts = [
        Rollout(
            ids=c.prompt_ids + c.token_ids,
            mask=(0,) * len(c.prompt_ids) + (1,) * len(c.token_ids),
            sampled=c.logprobs,
            advantage=a,
        )
        for c, a in zip(completions, advantages, strict=True)
        if a is not None
    ]
    return done, rollouts, _metrics(done, rewards, len(groups), effective)


def _metrics(samples: list[Sample], rewards: Sequence[Reward], groups: int, effective: int) -> dict[str, float]:
    decided = [r for r in rewards if r.total is not None]
    lengths = [len(s.token_ids or ()) for s in samples]
    parts = sorted({name for r in rewards for name in r.parts})
    return {
        "reward": float(np.mean([r.total for r in decided])) if decided else float("nan"),
        **{f"reward_{p}": float(np.mean([r.parts[p] for r in rewards if p in r.parts])) for p in parts},
        "accuracy": sum(s.verdict is not None and s.verdict.correct is True for s in samples) / len(samples),
        "unparsed": sum(s.verdict is not None and not s.verdict.parsed for s in samples) / len(samples),
        "undecided": 1 - len(decided) / len(samples),
        "truncated": sum(s.truncated for s in samples) / len(samples),
        "length_mean": float(np.mean(lengths)),
        "length_max": float(np.max(lengths)),
        "groups": groups,
        "effective_groups": effective / max(groups, 1),
        "rollouts": len(samples),
        "sampled_tokens": sum(lengths),
    }
