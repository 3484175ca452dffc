"""The update of RL against the formula written out: log-softmax over whole logits, one sequence at a time."""

from __future__ import annotations

import copy
import random
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from tests.unit.engines.tiny import VOCAB, tiny

from posttrain.rl.config import RLConfig
from posttrain.rl.learner import Learner, Reference
from posttrain.rl.rollouts import Rollout
from posttrain.training.config import OptimizerConfig
from posttrain.training.update import Updater

PAD = 0
AGGREGATIONS = ("token_mean", "sequence_mean", "sequence_sum", "constant")


@dataclass
class Recorder:
    """Stands in for the Updater: keeps every gradient, and takes plain steps of `rate` along them."""

    model: torch.nn.Module
    rate: float = 0.0
    gradients: list[dict[str, torch.Tensor]] = field(default_factory=list)
    weights: list[dict[str, torch.Tensor]] = field(default_factory=list)  # before each step

    def apply(self, step: int, what: str) -> dict[str, float]:
        self.weights.append(copy.deepcopy(self.model.state_dict()))
        self.gradients.append({n: p.grad.clone() for n, p in self.model.named_parameters() if p.grad is not None})
        with torch.no_grad():
            for parameter in self.model.parameters():
                if parameter.grad is not None:
                    parameter -= self.rate * parameter.grad
        self.model.zero_grad(set_to_none=True)
        return {}


def make_rollouts(count: int, *, silent: int = 0, seed: int = 0) -> list[Rollout]:
    """Prompts of 3 to 9 and responses of 2 to 12 random ids; the last `silent` have advantage 0."""
    draw = random.Random(seed)
    made = []
    for i in range(count):
        prompt, response = draw.randint(3, 9), draw.randint(2, 12)
        ids = tuple(draw.randrange(VOCAB) for _ in range(prompt + response))
        advantage = 0.0 if i >= count - silent else draw.choice([-1, 1]) * draw.uniform(0.3, 1.5)
        made.append(Rollout(ids, (0,) * prompt + (1,) * response, (0.0,) * response, advantage))
    return made


def config(**changes: Any) -> RLConfig:
    return RLConfig.model_validate({"prompts": 4, "group": 4, "max_tokens": 16, **changes})


def gradient(rollouts: list[Rollout], **changes: Any) -> dict[str, torch.Tensor]:
    policy = tiny("qwen2")
    recorder = Recorder(policy)
    Learner(config(**changes), policy, None, recorder).learn(rollouts, 0, PAD)  # type: ignore[arg-type]
    (found,) = recorder.gradients
    return found


def response_logprobs(policy: torch.nn.Module, rollout: Rollout, temperature: float) -> torch.Tensor:
    """log p of the response's tokens [n], from the logits of one whole sequence."""
    ids = torch.tensor([rollout.ids])
    every = torch.log_softmax(policy(ids).logits[0, :-1] / temperature, -1).gather(-1, ids[0, 1:, None])[:, 0]
    return every[[i - 1 for i, m in enumerate(rollout.mask) if m]]


def weight_by_hand(aggregation: str, rollout: Rollout, rollouts: list[Rollout], limit: int) -> float:
    return {
        "token_mean": 1 / sum(sum(r.mask) for r in rollouts),
        "sequence_mean": 1 / (len(rollouts) * sum(rollout.mask)),
        "sequence_sum": 1 / len(rollouts),
        "constant": 1 / (len(rollouts) * limit),
    }[aggregation]


def assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], rtol: float = 1e-5) -> None:
    """Compared as one vector: relative difference of the whole gradient."""
    assert found.keys() == expected.keys()
    norm = torch.cat([g.flatten() for g in expected.values()]).norm()
    apart = torch.cat([(found[n] - expected[n]).flatten() for n in expected]).norm()
    assert norm > 0
    assert apart <= rtol * norm, f"relative difference {float(apart / norm):.2e}"


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_gradient_is_the_same_however_the_batch_is_split(aggregation: str) -> None:
    rollouts = make_rollouts(12, silent=3)
    whole = gradient(rollouts, aggregation=aggregation, token_budget=1 << 20)
    for budget in (16, 50, 100):  # 16: one sequence at a time
        assert_same(gradient(rollouts, aggregation=aggregation, token_budget=budget), whole)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_gradient_is_the_formulas_with_silent_rollouts_counted_in_the_denominators(aggregation: str) -> None:
    """The learner runs no forward pass for advantage 0; the sum over all rollouts, theirs included, is the same."""
    rollouts = make_rollouts(8, silent=3, seed=1)
    policy = tiny("qwen2")
    loss = torch.zeros(())
    for r in rollouts:
        new = response_logprobs(policy, r, 0.7)
        ratio = torch.exp(new - new.detach())
        loss = loss - weight_by_hand(aggregation, r, rollouts, 16) * (ratio * r.advantage).sum()
    loss.backward()
    expected = {n: p.grad for n, p in policy.named_parameters() if p.grad is not None}
    assert_same(gradient(rollouts, aggregation=aggregation, temperature=0.7), expected)


def test_one_update_is_on_policy_to_the_last_bit() -> None:
    policy = tiny("qwen2")
    learner = Learner(config(), policy, None, Updater.make(policy, OptimizerConfig(lr=1e-2), 3))
    for step in range(3):
        row = learner.learn(make_rollouts(6, seed=step), step, PAD)
        assert (row["ratio"], row["ratio_off"], row["clip_fraction"]) == (1.0, 0.0, 0.0)


def test_later_updates_are_held_against_the_log_probabilities_of_before_the_first() -> None:
    rollouts = make_rollouts(8, seed=2)
    policy, start = tiny("qwen2"), tiny("qwen2")
    recorder = Recorder(policy, rate=0.05)
    row = Learner(config(updates=2), policy, None, recorder).learn(rollouts, 0, PAD)  # type: ignore[arg-type]
    assert len(recorder.gradients) == 2
    assert row["ratio_off"] > 1e-3

    moved = tiny("qwen2")
    moved.load_state_dict(recorder.weights[1])
    second = rollouts[1::2]
    loss, clipped, tokens = torch.zeros(()), 0, sum(sum(r.mask) for r in rollouts)
    for r in second:
        with torch.no_grad():
            old = response_logprobs(start, r, 1.0)
        ratio = torch.exp(response_logprobs(moved, r, 1.0) - old)
        bounded = ratio.clamp(0.8, 1.2) * r.advantage
        clipped += int((bounded < ratio * r.advantage).sum())
        loss = loss - torch.minimum(ratio * r.advantage, bounded).sum() / -(-tokens // 2)
    assert clipped > 0, "the example should reach the clip"
    loss.backward()
    expected = {n: p.grad for n, p in moved.named_parameters() if p.grad is not None}
    assert_same(recorder.gradients[1], expected)


def test_a_batch_without_signal_moves_nothing_not_even_the_optimizer() -> None:
    policy = tiny("qwen2")
    before = copy.deepcopy(policy.state_dict())
    updater = Updater.make(policy, OptimizerConfig(lr=1e-2, weight_decay=0.1), 3)
    row = Learner(config(), policy, None, updater).learn(make_rollouts(4, silent=4), 0, PAD)
    assert row["updates"] == 0
    assert not updater.optimizer.state
    assert all(torch.equal(before[n], value) for n, value in policy.state_dict().items())


def test_kl_alone_pulls_the_policy_back_to_its_reference() -> None:
    policy, reference = tiny("qwen2"), tiny("qwen2").requires_grad_(False)
    with torch.no_grad():
        noise = torch.Generator().manual_seed(0)
        for parameter in policy.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=noise)
    settings = config(kl=1.0, optimizer={"lr": 3e-3})
    learner = Learner(settings, policy, Reference(reference), Updater.make(policy, OptimizerConfig(lr=3e-3), 30))
    rollouts = make_rollouts(8, silent=8)  # no reward says anything
    distances = [learner.learn(rollouts, step, PAD)["kl"] for step in range(30)]
    assert distances[0] > 0
    assert distances[-1] < 0.2 * distances[0]


def test_learning_rate_zero_changes_no_weight() -> None:
    policy = tiny("qwen2")
    before = copy.deepcopy(policy.state_dict())
    Learner(config(), policy, None, Updater.make(policy, OptimizerConfig(lr=0.0), 3)).learn(make_rollouts(6), 0, PAD)
    assert all(torch.equal(before[n], value) for n, value in policy.state_dict().items())
