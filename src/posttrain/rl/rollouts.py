"""Groups of rollouts from the engine: drawn, sampled, graded, rewarded, and given their advantages."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from posttrain.engines.base import Engine, Prompt, Sampling
from posttrain.evals import as_sample, response_text, with_stops
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
    wanted = Sampling(n=config.group, temperature=config.temperature, max_tokens=config.max_tokens)
    sampling = with_stops(wanted, template, tokenizer)
    completions = sorted(engine.generate(requests, sampling), key=lambda c: (c.key, c.index))
    sampled = time.perf_counter()
    texts = [response_text(c, tokenizer, template, sampling) for c in completions]
    samples = _graded(completions, texts, problems, config.grading or template.grading, step)
    rewards = score(samples, config.reward, reward)
    samples, rollouts, metrics = _with_advantages(samples, completions, rewards, config)
    graded = time.perf_counter()
    metrics |= {"seconds_sampling": sampled - began, "seconds_grading": graded - sampled}
    return Batch(samples, rollouts, metrics)


def _graded(
    completions: Sequence[Completion], texts: Sequence[str], problems: Sequence[Problem], spec: str, step: int
) -> list[Sample]:
    by_id = {p.id: p for p in problems}
    samples = [as_sample(by_id[c.key], c, text, "policy") for c, text in zip(completions, texts, strict=True)]
    verdicts = grade_many([(by_id[s.problem_id], s.response, s.truncated) for s in samples], spec)
    return [dataclasses.replace(s, verdict=v, step=step) for s, v in zip(samples, verdicts, strict=True)]


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
        dataclasses.replace(s, reward=r.total, advantage=a, extra={**s.extra, "reward_parts": r.parts})
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
