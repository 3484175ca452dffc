"""What the ranks of the tests run; a module of its own, for a rank imports it by name."""

from __future__ import annotations

import os
import random

import torch
from tests.unit.engines.tiny import VOCAB, tiny
from torch import nn

from posttrain.prompts import Example
from posttrain.rl.config import RLConfig
from posttrain.rl.learner import Learner, Reference
from posttrain.rl.rollouts import Rollout
from posttrain.sft.supervised import supervised_step
from posttrain.stage import Workspace
from posttrain.training.batches import micro_batches
from posttrain.training.config import TrainingConfig
from posttrain.training.distributed import Ranks, whole
from posttrain.training.update import Updater


def batch() -> list[Example]:
    """Seven sequences of many lengths."""
    draw = random.Random(3)
    made = []
    for _ in range(7):
        prompt, response = draw.randint(4, 12), draw.randint(1, 20)
        ids = tuple(draw.randrange(VOCAB) for _ in range(prompt + response))
        made.append(Example(ids, (0,) * prompt + (1,) * response))
    return made


def kept(model: nn.Module, ranks: Ranks) -> dict[str, torch.Tensor]:
    """Filled with the whole gradient, by parameter, where it would be clipped."""
    found: dict[str, torch.Tensor] = {}

    def keep(parameters: object, largest: float) -> float:
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None
            found[name] = whole(parameter.grad).clone()
        return 1.0

    ranks.clip = keep  # type: ignore[method-assign]
    return found


def gradients(config: TrainingConfig, work: Workspace, ranks: Ranks) -> dict[str, torch.Tensor]:
    """The whole gradient of one step on `batch`, before it is applied, by parameter."""
    model = tiny("qwen2").train()
    updater = Updater.make(model, config.optimizer, 1, ranks)
    found = kept(model, ranks)
    mine, counts = ranks.share(batch())
    micros = micro_batches(mine, config.token_budget, 0)
    supervised_step(config, "token_mean", micros, len(batch()), model, updater, 0, counts=counts)
    return found


def groups() -> list[Rollout]:
    """Five prompts with three answers each, one of them without a signal."""
    draw = random.Random(4)
    made = []
    for number in range(5):
        prompt = tuple(draw.randrange(VOCAB) for _ in range(draw.randint(3, 12)))
        for index in range(3):
            answer = tuple(draw.randrange(VOCAB) for _ in range(draw.randint(1, 16)))
            advantage = draw.uniform(-1.5, 1.5) if index else 0.0
            mask = (0,) * len(prompt) + (1,) * len(answer)
            sampled = tuple(-draw.uniform(2, 6) for _ in answer)
            made.append(Rollout((*prompt, *answer), mask, sampled, advantage, (f"p{number}", index)))
    return made


def rl_gradients(config: RLConfig, work: Workspace, ranks: Ranks) -> dict[str, torch.Tensor]:
    """The same of one update of reinforcement learning on `groups`, with a distance to other weights in the loss."""
    policy = tiny("qwen2").eval()
    before = tiny("qwen2").requires_grad_(False)
    for parameter in before.parameters():
        parameter.mul_(1.05)
    reference = Reference(before)
    updater = Updater.make(policy, config.optimizer, 1, ranks)
    found = kept(policy, ranks)
    Learner(config, policy, reference, updater).learn(groups(), 0, 0)
    return found


def dies(config: TrainingConfig, work: Workspace, ranks: Ranks) -> None:
    """The second rank ends in the middle, as one does that the system kills."""
    ranks.wait()
    if ranks.rank == 1:
        print("about to die", flush=True)
        os._exit(9)
    ranks.wait()
