"""FlexAttention over documents that lie end to end: one compiled kernel under a block mask, for GPUs.

Against variable-length FlashAttention it also takes float32 and any head size; against documents side by side it pads
nothing. PyTorch has no backward pass of it for CPUs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any

import torch
from torch import Tensor


def flex_attend(q: Tensor, k: Tensor, v: Tensor, lengths: tuple[int, ...]) -> Tensor:
    """q [n, Q, D], k and v [n, K, D], rotated, n the sum of `lengths` → [n, Q, D]: causal inside each document."""
    side = [z.transpose(0, 1)[None] for z in (q, k, v)]
    out = _compiled()(*side, block_mask=_mask(lengths, q.device), enable_gqa=q.shape[1] != k.shape[1])
    mixed: Tensor = out[0].transpose(0, 1)
    return mixed


@cache
def _compiled() -> Callable[..., Any]:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=True)  # micro-batches differ in length


@lru_cache(maxsize=8)  # every layer of a micro-batch asks for the same
def _mask(lengths: tuple[int, ...], device: torch.device) -> Any:
    from torch.nn.attention.flex_attention import create_block_mask

    document = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths)).to(device)

    def inside(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (document[query] == document[key]) & (query >= key)

    rows = sum(lengths)
    return create_block_mask(inside, None, None, rows, rows, device=device)
