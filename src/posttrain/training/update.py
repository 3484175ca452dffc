"""One optimizer step: rate, clipping, the NaN stop. And the autocast that the forward pass runs under."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from posttrain.errors import TrainingError
from posttrain.models.allocator import keep_freed_memory
from posttrain.seeding import derive
from posttrain.training.config import OptimizerConfig, TrainingConfig
from posttrain.training.distributed import Ranks
from posttrain.training.optimizer import learning_rate, make_optimizer

if TYPE_CHECKING:
    from torch import nn


@dataclass(slots=True)
class Updater:
    """Applies accumulated gradients. `steps` is the length of the schedule."""

    model: nn.Module
    config: OptimizerConfig
    steps: int
    optimizer: torch.optim.Optimizer
    ranks: Ranks = field(default_factory=Ranks)

    @classmethod
    def make(cls, model: nn.Module, config: OptimizerConfig, steps: int, ranks: Ranks | None = None) -> Updater:
        """ranks: distributes the model in place, where there is more than one."""
        if all(parameter.device.type == "cpu" for parameter in model.parameters()):
            keep_freed_memory()
        ranks = ranks or Ranks()
        optimizer = ranks.wrap(model, make_optimizer(model.parameters(), config))
        return cls(model, config, steps, optimizer, ranks)

    def apply(self, step: int, what: str) -> dict[str, float]:
        """Clips, steps, zeroes; returns lr and the gradient norm *before* clipping. `what` names the batch in errors.

        Raises TrainingError before touching a weight when the gradient is not finite.
        """
        rate = learning_rate(self.config, step, self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        norm = 0.0
        if not self.ranks.deepspeed:
            norm = self.ranks.clip([p for p in self.model.parameters() if p.requires_grad], self.config.clip)
            if not math.isfinite(norm):
                raise TrainingError(
                    f"the gradient of {what} is {norm} at step {step + 1}. No weight was touched; "
                    "the last good state is kept. Lower optimizer.lr, or look at that batch."
                )
        told = self.ranks.step(self.optimizer)
        if told is not None and not math.isfinite(told):
            raise TrainingError(
                f"the gradient of {what} is {told} at step {step + 1}. The checkpoints written so far are good. "
                "Lower optimizer.lr, or look at that batch."
            )
        return {"lr": rate, "grad_norm": norm if told is None else told}


def seeded(seed: int, step: int, rank: int) -> None:
    """Every step's dropout is drawn from (seed, step, rank), so it does not depend on what was drawn before."""
    torch.manual_seed(derive(seed, "dropout", step, rank))


@contextlib.contextmanager
def memory_watched(config: TrainingConfig) -> Iterator[None]:
    """Turns running out of memory, on either side of the bus, into a TrainingError that says what to change."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        known = isinstance(error, torch.OutOfMemoryError | MemoryError)
        if not known and "can't allocate memory" not in str(error):  # PyTorch's CPU allocator says it in words only
            raise
        ways = [f"lower token_budget (it is {config.token_budget}; results stay the same)"]
        if not config.gradient_checkpointing:
            ways.append("gradient_checkpointing: true")
        if config.dtype == "float32":
            ways.append("dtype: bfloat16")
        if config.lora is None:
            ways += ["lora: {rank: 16}", "optimizer.name: adamw_8bit"]
        elif config.quantize is None:
            ways.append("quantize: nf4")
        if config.launch.strategy == "ddp":
            ways.append("launch.strategy: fsdp2 on several GPUs")
        reason = str(error).strip().partition("\n")[0]
        raise TrainingError(
            f"out of memory ({reason}). The last saved state stands. In this order: {'; '.join(ways)}. "
            "`posttrain plan` tells beforehand what a setting needs."
        ) from error


@contextlib.contextmanager
def autocast(dtype: str, device: str) -> Iterator[None]:
    """bfloat16 autocast over float32 weights, or nothing."""
    if dtype == "float32":
        yield
        return
    with torch.autocast(device_type=device.split(":")[0], dtype=torch.bfloat16):
        yield
