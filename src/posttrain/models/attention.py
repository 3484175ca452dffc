"""Causal attention inside each of several documents that lie end to end, by PyTorch's and FlashAttention's kernels.

Axes: n rows (tokens), Q query heads, K key/value heads, D head size.

On a GPU in half precision variable-length FlashAttention takes all documents at once: the package flash-attn where it
is installed, PyTorch's own otherwise; where it is asked for, FlexAttention does (flex.py). Everywhere else documents of
like length stand side by side, padded at the end: causality alone keeps padding away from what is real, so that no mask
exists.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from posttrain.models.flex import flex_attend

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


def attend(q: Tensor, k: Tensor, v: Tensor, documents: Documents, *, flex: bool = False) -> Tensor:
    """q [n, Q, D], k and v [n, K, D], rotated → [n, Q D]. Padding rows give 0. flex: by FlexAttention."""
    rows = documents.rows
    varlen = _varlen() if q.is_cuda and q.dtype in (torch.bfloat16, torch.float16) else None
    if flex:
        mixed = flex_attend(q[:rows], k[:rows], v[:rows], documents.lengths)
    elif varlen is not None:
        ends = torch.tensor((0, *documents.lengths)).cumsum(0).to(q.device, torch.int32)
        mixed = varlen(q[:rows], k[:rows], v[:rows], ends, max(documents.lengths))
    else:
        mixed = _side_by_side(q, k, v, documents)
    return F.pad(mixed.flatten(1), (0, 0, 0, q.shape[0] - rows))


PADDING = 1.25  # documents stand side by side as long as that makes no more than this many rows of each real one


def _side_by_side(q: Tensor, k: Tensor, v: Tensor, documents: Documents) -> Tensor:
    """[rows, Q, D]: one call of scaled_dot_product_attention for each bucket of documents of like length."""
    groups = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    batches, back = _layout(documents.lengths)
    found = []
    for rows, real in batches:
        q_, k_, v_ = (z[rows.to(z.device)].transpose(1, 2) for z in (q, k, v))
        out = F.scaled_dot_product_attention(q_, k_, v_, is_causal=True).transpose(1, 2)
        found.append(out[real.to(out.device)])
    return found[0] if len(found) == 1 else torch.cat(found)[back.to(q.device)]


@lru_cache(maxsize=64)  # every layer of a micro-batch asks for the same
def _layout(lengths: tuple[int, ...]) -> tuple[list[tuple[Tensor, Tensor]], Tensor]:
    """Per bucket (row of each place [documents, longest], which places are real), and where each row then stands."""
    long = torch.tensor(lengths)
    first = long.cumsum(0) - long
    batches, order = [], []
    for bucket in _buckets(lengths):
        at = torch.arange(int(long[bucket].max()))
        real = at < long[bucket, None]
        rows = first[bucket, None] + at
        order.append(rows[real])
        batches.append((torch.where(real, rows, first[bucket, None]), real))
    return batches, torch.cat(order).argsort()


def _buckets(lengths: tuple[int, ...]) -> list[list[int]]:
    """The documents in buckets of like length, each bucket in ascending order of its documents."""
    order = sorted(range(len(lengths)), key=lambda i: lengths[i])
    buckets: list[list[int]] = [[]]
    real = 0
    for i in order:
        if buckets[-1] and (len(buckets[-1]) + 1) * lengths[i] > PADDING * (real + lengths[i]):
            buckets.append([])
            real = 0
        buckets[-1].append(i)
        real += lengths[i]
    return [sorted(bucket) for bucket in buckets]


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
