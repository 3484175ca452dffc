"""The update of RL against the formula written out: log-softmax over whole logits, one sequence at a time."""

from __future__ import annotations

import copy
import dataclasses
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
from posttrain.training.distributed import Ranks
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
    ranks: Ranks = field(default_factory=Ranks)

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


def test_a_second_pass_is_held_against_the_first_ones_start() -> None:
    rollouts = make_rollouts(6, seed=3)
    recorder = Recorder(tiny("qwen2"), rate=0.05)
    row = Learner(config(passes=2), recorder.model, None, recorder).learn(rollouts, 0, PAD)  # type: ignore[arg-type]
    assert len(recorder.gradients) == 2
    assert row["updates"] == 2
    assert row["ratio_off"] > 1e-3, "in the second pass the policy has moved"
    alone = Recorder(tiny("qwen2"), rate=0.05)
    Learner(config(), alone.model, None, alone).learn(rollouts, 0, PAD)  # type: ignore[arg-type]
    assert_same(recorder.gradients[0], alone.gradients[0])


def sampled_by(policy: torch.nn.Module, rollouts: list[Rollout], temperature: float = 1.0) -> list[Rollout]:
    """The same with the log-probabilities that `policy` gives them, as its sampler would."""
    with torch.no_grad():
        return [
            dataclasses.replace(r, sampled=tuple(response_logprobs(policy, r, temperature).tolist())) for r in rollouts
        ]


def test_the_samplers_log_probabilities_stand_for_the_old_ones_without_a_forward_pass() -> None:
    """Two updates: with the sampler trusted the gradients are those of the forward pass taken before."""
    rollouts = sampled_by(tiny("qwen2"), make_rollouts(8, seed=2))
    found = []
    for trust in (False, True):
        recorder = Recorder(tiny("qwen2"), rate=0.05)
        learner = Learner(config(updates=2), recorder.model, None, recorder, trust_sampler=trust)  # type: ignore[arg-type]
        asked: list[int] = []
        measure = learner.logprobs
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Learner, "logprobs", lambda self, m, r=None: (asked.append(1), measure(m, r))[1])  # noqa: B023
            learner.learn(rollouts, 0, PAD)
        assert bool(asked) is not trust
        found.append(recorder.gradients)
    for theirs, mine in zip(*found, strict=True):
        assert_same(mine, theirs, rtol=1e-4)


def test_a_stale_samplers_rollouts_are_weighed_and_the_weights_cut_at_their_bound() -> None:
    policy, stale = tiny("qwen2"), tiny("qwen2")
    with torch.no_grad():
        for parameter in stale.parameters():
            parameter *= 1.3
    rollouts = sampled_by(stale, make_rollouts(8, seed=4))
    recorder = Recorder(policy)
    row = Learner(config(staleness=1), policy, None, recorder).learn(rollouts, 0, PAD)  # type: ignore[arg-type]
    assert row["mismatch"] > 0.01
    assert row["corrected"] > 0
    assert 0 < row["ess"] < 1

    loss, tokens = torch.zeros(()), sum(sum(r.mask) for r in rollouts)
    reference = tiny("qwen2")
    for r in rollouts:
        new = response_logprobs(reference, r, 1.0)
        weight = torch.exp(new.detach() - torch.tensor(r.sampled)).clamp(max=2.0)
        loss = loss - (weight * torch.exp(new - new.detach()) * r.advantage).sum() / tokens
    loss.backward()
    expected = {n: p.grad for n, p in reference.named_parameters() if p.grad is not None}
    assert_same(recorder.gradients[0], expected)


def test_watched_rollouts_show_the_log_probability_and_entropy_of_every_token() -> None:
    policy = tiny("qwen2")
    rollouts = [dataclasses.replace(r, key=("p", i)) for i, r in enumerate(make_rollouts(5, silent=1))]
    learner = Learner(config(token_budget=40), policy, None, Recorder(policy), watch={("p", 1), ("p", 4)})  # type: ignore[arg-type]
    learner.learn(rollouts, 0, PAD)
    assert set(learner.watched) == {("p", 1)}, "what has no advantage has no forward pass to take numbers from"
    seen = learner.watched[("p", 1)]
    assert seen.logprobs == pytest.approx(response_logprobs(policy, rollouts[1], 1.0).tolist(), abs=1e-4)
    assert len(seen.entropy) == sum(rollouts[1].mask)


def test_the_distance_for_the_reward_is_the_sum_over_the_response() -> None:
    policy, reference = tiny("qwen2"), tiny("qwen2")
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter *= 1.1
    rollouts = sampled_by(policy, make_rollouts(5))
    settings = config(kl=0.1, kl_in="reward", kl_estimator="k1")
    learner = Learner(settings, policy, Reference(reference), Recorder(policy))  # type: ignore[arg-type]
    found = learner.distances(rollouts, PAD)
    for r, distance in zip(rollouts, found, strict=True):
        with torch.no_grad():
            expected = (torch.tensor(r.sampled) - response_logprobs(reference, r, 1.0)).sum()
        assert distance == pytest.approx(float(expected), rel=1e-3, abs=1e-4)
