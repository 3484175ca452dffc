"""One optimizer step: rate, clipping, the NaN stop. And the autocast that the forward pass runs under."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from posttrain.errors import TrainingError
from posttrain.training.config import OptimizerConfig
from posttrain.training.optimizer import learning_rate, make_optimizer

if TYPE_CHECKING:
    from torch import nn


@dataclass(slots=True)
class Updater:
    """Applies accumulated gradients. `steps` is the length of the schedule."""

    model: nn.Module
    config: OptimizerConfig
    steps: int
    optimizer: torch.optim.AdamW

    @classmethod
    def make(cls, model: nn.Module, config: OptimizerConfig, steps: int) -> Updater:
        return cls(model, config, steps, make_optimizer(model.parameters(), config))

    def apply(self, step: int, what: str) -> dict[str, float]:
        """Clips, steps, zeroes; returns lr and the gradient norm *before* clipping. `what` names the batch in errors.

        Raises TrainingError before touching a weight when the gradient is not finite.
        """
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        norm = float(torch.nn.utils.clip_grad_norm_(parameters, self.config.clip))
        if not math.isfinite(norm):
            raise TrainingError(
                f"the gradient of {what} is {norm} at step {step + 1}. No weight was touched; "
                "the last good state is kept. Lower optimizer.lr, or look at that batch."
            )
        rate = learning_rate(self.config, step, self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return {"lr": rate, "grad_norm": norm}


@contextlib.contextmanager
def autocast(dtype: str, device: str) -> Iterator[None]:
    """bfloat16 autocast over float32 weights, or nothing."""
    if dtype == "float32":
        yield
        return
    with torch.autocast(device_type=device.split(":")[0], dtype=torch.bfloat16):
        yield
