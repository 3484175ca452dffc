"""Groups of rollouts: drawn, sampled, graded while others are still sampled, rewarded, and given their advantages."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from posttrain.engines.base import Engine, Prompt, Sampling
from posttrain.evals import as_sample, response_text, with_stops
from posttrain.grading import grade_many
from posttrain.records import Completion, Problem, Sample
from posttrain.rl.algorithms.advantages import group_advantages, overlong_penalty, whitened
from posttrain.rl.config import RLConfig
from posttrain.rl.drawing import Drawer
from posttrain.rl.rewards import Reward, UserFunction, score
from posttrain.seeding import derive

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from posttrain.prompts import Template

Distance = Callable[[Sequence[Sample]], list[float]]


@dataclass(frozen=True, slots=True)
class Rollout:
    """What the loss needs of a Sample: prompt + response ids, the response mask, the sampler's log-probabilities."""

    ids: tuple[int, ...]
    mask: tuple[int, ...]
    sampled: tuple[float, ...]  # logμ of the response tokens
    advantage: float
    key: tuple[str, int] = ("", 0)


@dataclass(frozen=True, slots=True)
class Batch:
    """One step's rollouts: every sample for the store, those of the loss, and the numbers."""

    samples: list[Sample]
    rollouts: list[Rollout]
    metrics: dict[str, float]


@dataclass(slots=True)
class Collector:
    """Makes a step's Batch. `distance`: the KL penalty of each sample, where it is taken from the reward."""

    config: RLConfig
    engine: Engine
    tokenizer: PreTrainedTokenizerBase
    template: Template
    reward: Mapping[str, UserFunction] | None  # the user's own, by component
    drawer: Drawer
    seed: int
    distance: Distance | None = None
    seconds: dict[str, float] = field(default_factory=dict)  # of the last step: sampling, and waiting for the grader

    def collect(self, step: int) -> list[Sample]:
        """The samples of step `step` (from 1), with verdicts, rewards and advantages.

        With dynamic sampling, groups without a signal are replaced until `prompts` groups have one or the rounds are
        used up; the replaced ones come back too, marked ``dropped`` and without an advantage.
        """
        wanted, rounds = self.config.prompts, self.config.dynamic_sampling.max_rounds
        self.seconds = {"sampling": 0.0, "grading": 0.0}
        samples: list[Sample] = []
        useful: list[str] = []
        asked: set[str] = set()
        for number in range(rounds):
            problems = self.drawer.draw(wanted - len(useful), step - 1, asked)
            if not problems:
                break
            asked.update(p.id for p in problems)
            graded = self._graded(problems, step)
            began = time.perf_counter()
            found = self.rewarded(graded, step, {p.id: p for p in problems})
            self.seconds["grading"] += time.perf_counter() - began
            self.drawer.learn(found)
            useful += sorted({s.problem_id for s in found if s.advantage})
            samples += [dataclasses.replace(s, extra={**s.extra, "round": number + 1}) for s in found]
            if len(useful) >= wanted:
                break
        if rounds > 1:
            samples = [_dropped(s) if s.problem_id not in useful else s for s in samples]
        return _whitened(samples) if self.config.advantage == "batch_norm" else samples

    def _graded(self, problems: Sequence[Problem], step: int) -> list[Sample]:
        """Sampling noise depends on (seed, step, problem, sample index) only, so a resumed step draws the same.

        A group goes to the grader as soon as its last member has ended, while the engine goes on.
        """
        by_id = {p.id: p for p in problems}
        requests = (
            Prompt(
                p.id,
                tuple(self.template.prompt_ids(p.question, self.tokenizer)),
                derive(self.seed, "rollout", step, p.id),
            )
            for p in problems
        )
        wanted = Sampling(
            n=self.config.group,
            temperature=self.config.temperature,
            top_p=self.config.top_p,
            max_tokens=self.config.max_tokens,
        )
        sampling = with_stops(wanted, self.template, self.tokenizer)
        groups: dict[str, list[Completion]] = {}
        spec = self.config.grading or self.template.grading

        def grade(key: str) -> list[Sample]:
            ordered = sorted(groups[key], key=lambda c: c.index)
            texts = [response_text(c, self.tokenizer, self.template, sampling) for c in ordered]
            ungraded = [as_sample(by_id[key], c, text, "policy") for c, text in zip(ordered, texts, strict=True)]
            verdicts = grade_many([(by_id[key], s.response, s.truncated) for s in ungraded], spec)
            return [dataclasses.replace(s, verdict=v, step=step) for s, v in zip(ungraded, verdicts, strict=True)]

        began = time.perf_counter()
        with ThreadPoolExecutor(1, thread_name_prefix="grading") as pool:
            graded = {}
            for completion in self.engine.generate(requests, sampling):
                group = groups.setdefault(completion.key, [])
                group.append(completion)
                if len(group) == self.config.group:
                    graded[completion.key] = pool.submit(grade, completion.key)
            sampled = time.perf_counter()
            found = [sample for key in sorted(graded) for sample in graded[key].result()]
        self.seconds["sampling"] += sampled - began
        self.seconds["grading"] += time.perf_counter() - sampled
        return found

    def rewarded(self, samples: list[Sample], step: int, problems: Mapping[str, Problem]) -> list[Sample]:
        """The graded samples with reward, its parts, and the group's advantage (None where undecided)."""
        config = self.config
        shaping: list[dict[str, float]] = [{} for _ in samples]
        if config.overlong_buffer:
            buffer = max(1, round(config.overlong_buffer * config.max_tokens))
            for part, s in zip(shaping, samples, strict=True):
                part["overlong"] = overlong_penalty(len(s.token_ids or ()), config.max_tokens, buffer)
        if self.distance is not None:
            for part, distance in zip(shaping, self.distance(samples), strict=True):
                part["kl"] = -config.kl * distance
        rewards = score(samples, config.reward, self.reward or {}, shaping, problems)
        advantages = _advantages(config, samples, rewards)
        return [
            dataclasses.replace(s, reward=r.total, advantage=a, step=step, extra={**s.extra, "reward_parts": r.parts})
            for s, r, a in zip(samples, rewards, advantages, strict=True)
        ]


def _advantages(config: RLConfig, samples: Sequence[Sample], rewards: Sequence[Reward]) -> list[float | None]:
    advantages: list[float | None] = [None] * len(samples)
    groups: dict[str, list[int]] = {}
    for i, s in enumerate(samples):
        if rewards[i].total is not None:
            groups.setdefault(s.problem_id, []).append(i)
    for members in groups.values():
        values = group_advantages(config.advantage, [rewards[i].total or 0.0 for i in members], config.epsilon)
        for i, value in zip(members, values, strict=True):
            advantages[i] = value
    return advantages


def _dropped(sample: Sample) -> Sample:
    return dataclasses.replace(sample, advantage=None, extra={**sample.extra, "dropped": True})


def _whitened(samples: list[Sample]) -> list[Sample]:
    decided = [i for i, s in enumerate(samples) if s.advantage is not None]
    lengths = [len(samples[i].token_ids or ()) for i in decided]
    values = whitened([samples[i].advantage or 0.0 for i in decided], lengths)
    for i, value in zip(decided, values, strict=True):
        samples[i] = dataclasses.replace(samples[i], advantage=value)
    return samples


def rollout_of(sample: Sample) -> Rollout:
    """Of any sample with token ids; an advantage that it has not got counts as 0."""
    prompt, response = sample.prompt_ids or (), sample.token_ids or ()
    return Rollout(
        ids=(*prompt, *response),
        mask=(0,) * len(prompt) + (1,) * len(response),
        sampled=sample.logprobs or (),
        advantage=sample.advantage or 0.0,
        key=sample.key,
    )


def batch_of(samples: list[Sample]) -> Batch:
    """The Batch of a step's samples, fresh or from the store: what has no advantage is not in the loss."""
    return Batch(samples, [rollout_of(s) for s in samples if s.advantage is not None], batch_metrics(samples))


def batch_metrics(samples: Sequence[Sample]) -> dict[str, float]:
    """Of everything that was sampled, what was dropped included; `reward` and its parts are means."""
    rewards = [s.reward for s in samples if s.reward is not None]
    lengths = [len(s.token_ids or ()) for s in samples]
    parts: dict[str, list[float]] = {}
    for s in samples:
        for name, value in s.extra["reward_parts"].items():
            parts.setdefault(name, []).append(value)
    groups = _groups(samples)
    signal = {name for name, members in groups.items() if any(s.advantage for s in members)}
    dropped = sum(bool(s.extra.get("dropped")) for s in samples)
    return {
        "reward": float(np.mean(rewards)) if rewards else float("nan"),
        **{f"reward_{name}": float(np.mean(parts[name])) for name in sorted(parts)},
        "reward_std": float(np.std(rewards)) if rewards else float("nan"),
        "accuracy": sum(map(_right, samples)) / len(samples),
        "solved_groups": sum(all(map(_right, g)) for g in groups.values()) / max(len(groups), 1),
        "unparsed": sum(s.verdict is not None and not s.verdict.parsed for s in samples) / len(samples),
        "undecided": 1 - len(rewards) / len(samples),
        "truncated": sum(s.truncated for s in samples) / len(samples),
        "length_mean": float(np.mean(lengths)),
        "length_max": float(np.max(lengths)),
        "groups": len(groups),
        "effective_groups": len(signal) / max(len(groups), 1),
        "effective_samples": sum(len(groups[name]) for name in signal),
        "rollouts": len(samples),
        "dropped": dropped,
        "rounds": max(int(s.extra.get("round", 1)) for s in samples),
        "sampled_tokens": sum(lengths),
        "staleness": max((s.step or 1) - 1 - (s.weights_version or 0) for s in samples),
    }


def _right(sample: Sample) -> bool:
    return sample.verdict is not None and sample.verdict.correct is True


def _groups(samples: Collection[Sample]) -> dict[str, list[Sample]]:
    """Samples with a decided reward, by problem."""
    groups: dict[str, list[Sample]] = {}
    for s in samples:
        if s.reward is not None:
            groups.setdefault(s.problem_id, []).append(s)
    return groups
