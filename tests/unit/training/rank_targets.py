"""What the ranks of the tests run; a module of its own, for a rank imports it by name."""

from __future__ import annotations

import os
import random

import torch
from tests.unit.engines.tiny import VOCAB, tiny

from posttrain.prompts import Example
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


def gradients(config: TrainingConfig, work: Workspace, ranks: Ranks) -> dict[str, torch.Tensor]:
    """The whole gradient of one step on `batch`, before it is applied, by parameter."""
    model = tiny("qwen2").train()
    updater = Updater.make(model, config.optimizer, 1, ranks)
    found: dict[str, torch.Tensor] = {}

    def keep(parameters: object, largest: float) -> float:
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None
            found[name] = whole(parameter.grad).clone()
        return 1.0

    ranks.clip = keep  # type: ignore[method-assign]
    mine, counts = ranks.share(batch())
    micros = micro_batches(mine, config.token_budget, 0)
    supervised_step(config, "token_mean", micros, len(batch()), model, updater, 0, counts=counts)
    return found


def dies(config: TrainingConfig, work: Workspace, ranks: Ranks) -> None:
    """The second rank ends in the middle, as one does that the system kills."""
    ranks.wait()
    if ranks.rank == 1:
        print("about to die", flush=True)
        os._exit(9)
    ranks.wait()
