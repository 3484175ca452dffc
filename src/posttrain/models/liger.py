"""The loss of supervised tokens by Liger's fused kernel, on a GPU: projection and cross-entropy in one, without logits.

logprobs.py is the reference that it is tested against. The kernel makes the gradient in the forward pass, for a sum in
which every token weighs the same, and tells neither entropy nor accuracy.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from posttrain.errors import MissingExtraError, TrainingError
from posttrain.models.logprobs import predicting_states

if TYPE_CHECKING:
    from torch import nn


@functools.cache
def _summed() -> Any:
    try:
        from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss
    except ImportError:
        raise MissingExtraError(
            "loss_kernel: liger needs the library liger-kernel. Install it: pip install 'posttrain[liger]', or take "
            "loss_kernel: ours."
        ) from None
    return LigerFusedLinearCrossEntropyLoss(reduction="sum")


def check_liger(device: torch.device) -> None:
    """Before training: MissingExtraError without the library, TrainingError without a GPU."""
    if device.type != "cuda":
        raise TrainingError(
            f"loss_kernel: liger is for GPUs, and this stage trains on {device.type}. Take loss_kernel: ours."
        )
    _summed()


def summed_nll(model: nn.Module, ids: Tensor, row: Tensor, col: Tensor) -> Tensor:
    """-Σ log p(ids[row, col]), a scalar; the arguments are those of `token_stats`."""
    hidden = predicting_states(model, ids, row, col)
    with torch.autocast(ids.device.type, enabled=False):
        weight = cast("Any", model).get_output_embeddings().weight.to(hidden.dtype)
        total: Tensor = _summed()(weight, hidden, ids[row, col])
    return total
