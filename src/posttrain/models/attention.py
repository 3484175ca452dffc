"""Causal attention inside each of several documents that lie end to end, by PyTorch's and FlashAttention's kernels.

Axes: n rows (tokens), Q query heads, K key/value heads, D head size.

On a GPU in half precision variable-length FlashAttention takes all documents at once: the package flash-attn where it
is installed, PyTorch's own otherwise. Everywhere else each document is attended to by itself, so that neither a mask
nor padding exists.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Varlen = Callable[[Tensor, Tensor, Tensor, Tensor, int], Tensor]


@dataclass(frozen=True, slots=True)
class Documents:
    """Lengths of documents that lie end to end in the first rows; rows past the last document are padding."""

    lengths: tuple[int, ...]

    @property
    def rows(self) -> int:
        return sum(self.lengths)

    def positions(self, rows: int, device: torch.device) -> Tensor:
        """[rows] int64: 0, 1, … anew in every document; 0 in padding."""
        parts = [torch.arange(length) for length in self.lengths]
        return torch.cat([*parts, torch.zeros(rows - self.rows, dtype=torch.int64)]).to(device)


def attend(q: Tensor, k: Tensor, v: Tensor, documents: Documents) -> Tensor:
    """q [n, Q, D], k and v [n, K, D], rotated → [n, Q D]. Padding rows give 0."""
    rows = documents.rows
    varlen = _varlen() if q.is_cuda and q.dtype in (torch.bfloat16, torch.float16) else None
    if varlen is not None:
        ends = torch.tensor((0, *documents.lengths)).cumsum(0).to(q.device, torch.int32)
        mixed = varlen(q[:rows], k[:rows], v[:rows], ends, max(documents.lengths))
    else:
        parts = (torch.split(z[:rows], list(documents.lengths)) for z in (q, k, v))
        mixed = torch.cat([_alone(*one) for one in zip(*parts, strict=True)])
    return F.pad(mixed.flatten(1), (0, 0, 0, q.shape[0] - rows))


def _alone(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """One document: [t, Q, D]."""
    groups = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    q, k, v = (z.transpose(0, 1)[None] for z in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)[0].transpose(0, 1)


@cache
def _varlen() -> Varlen | None:
    """FlashAttention over documents of any length, or None where neither flash-attn nor PyTorch's own is there."""
    if importlib.util.find_spec("flash_attn") is not None:
        flash: Any = importlib.import_module("flash_attn")
        return lambda q, k, v, ends, longest: flash.flash_attn_varlen_func(
            q, k, v, ends, ends, longest, longest, causal=True
        )
    if importlib.util.find_spec("torch.nn.attention.varlen") is None:
        return None
    own: Any = importlib.import_module("torch.nn.attention.varlen")

    def varlen(q: Tensor, k: Tensor, v: Tensor, ends: Tensor, longest: int) -> Tensor:
        groups = q.shape[1] // k.shape[1]
        k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
        out: Tensor = own.varlen_attn(q, k, v, ends, ends, longest, longest, window_size=(-1, 0))
        return out

    return varlen
