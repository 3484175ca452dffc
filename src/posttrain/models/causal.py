"""Causal attention inside each of many documents on the CPU, with its gradient by hand.

One compiled function (causal.h) where the processor is made for it; elsewhere products of whole blocks with lean.c's
softmax between them.

Axes: n rows (tokens), Q query heads, K key/value heads, D head size, W padded length.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, groupby
from typing import Any

import torch
from torch import Tensor

from posttrain.models.lean import lean, run_lean

WIDEST = 512  # documents longer than this take PyTorch's attention, which keeps no [length, length] matrix
STEP = 32  # lengths are rounded up to this: oneDNN prepares itself once per shape


@dataclass(frozen=True, slots=True)
class Blocks:
    """Where documents lie: `table` [documents, 5] int64 for the C code (first row, length, W, first block row, first
    probability), the rows of all blocks and probabilities of one head, the largest W, and `groups`: documents of one W
    stand side by side (W, first block row, how many)."""

    table: Tensor
    rows: int
    squares: int
    longest: int
    groups: tuple[tuple[int, int, int], ...]

    @classmethod
    def of(cls, lengths: list[int]) -> Blocks:
        firsts = list(accumulate(lengths, initial=0))
        wides = [-(-length // STEP) * STEP for length in lengths]
        table: list[tuple[int, int, int, int, int]] = []
        groups, at, square = [], 0, 0
        for wide, same in groupby(sorted(range(len(lengths)), key=wides.__getitem__), key=wides.__getitem__):
            begin = len(table)
            for document in same:
                table.append((firsts[document], lengths[document], wide, at, square))
                at, square = at + wide, square + wide * wide
            groups.append((wide, table[begin][3], len(table) - begin))
        return cls(torch.tensor(table, dtype=torch.int64), at, square, max(wides), tuple(groups))


class Attention(torch.autograd.Function):
    """Rotated causal attention inside each document: qkv [n, (Q + 2K) D] → [n, Q D]. Rows of no document give 0.

    cosine, sine: [longest, D / 2] float32. The probabilities are kept for the backward pass, document by document.
    """

    @staticmethod
    def forward(
        ctx: Any, qkv: Tensor, blocks: Blocks, heads: int, kv_heads: int, size: int, cosine: Tensor, sine: Tensor
    ) -> Tensor:
        dtype, count = qkv.dtype, len(blocks.table)
        q, k, v = (qkv.new_empty(blocks.rows * h * size) for h in (heads, kv_heads, kv_heads))
        run_lean("split", dtype, qkv, q, k, v, cosine, sine, blocks.table, count, heads, kv_heads, size, 0)
        mixed = torch.empty_like(q)
        sizes = (count, heads, kv_heads, size, blocks.longest)
        if _whole(dtype):
            kept = [qkv.new_empty(blocks.squares * heads)]
            run_lean("attention", dtype, q, k, v, *kept, mixed, blocks.table, *sizes)
        else:
            kept = _attention_by_products(blocks, (q, k, v), mixed, heads, kv_heads, size)
        rows = qkv.new_zeros(qkv.shape[0], heads * size)
        run_lean("merge", dtype, rows, mixed, blocks.table, count, heads, size, 0)
        ctx.save_for_backward(q, k, v, cosine, sine, *kept)
        ctx.blocks, ctx.sizes, ctx.shape = blocks, (heads, kv_heads, size), qkv.shape
        return rows

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, cosine, sine, *kept = ctx.saved_tensors
        (heads, kv_heads, size), blocks, dtype = ctx.sizes, ctx.blocks, grad.dtype
        d_mixed, d_q, d_k, d_v = (torch.empty_like(z) for z in (q, q, k, v))
        count = len(blocks.table)
        run_lean("merge", dtype, grad.contiguous(), d_mixed, blocks.table, count, heads, size, 1)
        three, d_three = (q, k, v), (d_q, d_k, d_v)
        if _whole(dtype):
            sizes = (count, heads, kv_heads, size, blocks.longest)
            run_lean("attention_back", dtype, *three, *kept, d_mixed, *d_three, blocks.table, *sizes)
        else:
            _gradients_by_products(blocks, three, d_three, d_mixed, kept, heads, kv_heads, size)
        d_qkv = grad.new_zeros(ctx.shape)
        run_lean("split", dtype, d_qkv, d_q, d_k, d_v, cosine, sine, blocks.table, count, heads, kv_heads, size, 1)
        return d_qkv, None, None, None, None, None, None


def _whole(dtype: torch.dtype) -> bool:
    """Whether attention is one compiled function for this dtype on this processor."""
    functions = lean()
    return functions is not None and functions.has("attention", dtype)


def _attention_by_products(
    blocks: Blocks, three: tuple[Tensor, Tensor, Tensor], mixed: Tensor, heads: int, kv_heads: int, size: int
) -> list[Tensor]:
    """Fills `mixed`; the probabilities, group by group."""
    kept = []
    for (q, k, v), out in _groups(blocks, three, mixed, heads, kv_heads, size):
        scores = _bmm(q, k.transpose(1, 2))
        run_lean("causal_softmax", q.dtype, scores, size**-0.5, len(k) * heads // kv_heads, k.shape[1])
        _bmm(scores, v, out)
        kept.append(scores)
    return kept


def _gradients_by_products(
    blocks: Blocks,
    three: tuple[Tensor, Tensor, Tensor],
    d_three: tuple[Tensor, Tensor, Tensor],
    d_mixed: Tensor,
    kept: list[Tensor],
    heads: int,
    kv_heads: int,
    size: int,
) -> None:
    """Fills `d_three` from `d_mixed` and the probabilities."""
    views = _groups(blocks, three, d_mixed, heads, kv_heads, size)
    targets = _groups(blocks, d_three, d_mixed, heads, kv_heads, size)
    for ((q, k, v), d_out), ((to_q, to_k, to_v), _), p in zip(views, targets, kept, strict=True):
        _bmm(p.transpose(1, 2), d_out, to_v)
        d_scores = _bmm(d_out, v.transpose(1, 2))
        run_lean("causal_softmax_back", q.dtype, d_scores, p, size**-0.5, len(k) * heads // kv_heads, k.shape[1])
        _bmm(d_scores, k, to_q)
        _bmm(d_scores.transpose(1, 2), q, to_k)


def _groups(
    blocks: Blocks, three: tuple[Tensor, Tensor, Tensor], other: Tensor, heads: int, kv_heads: int, size: int
) -> list[tuple[tuple[Tensor, Tensor, Tensor], Tensor]]:
    """Per m documents of one W ((q, k, v), another tensor of q's layout): q [m K, Q/K · W, D], k and v [m K, W, D]."""
    found = []
    for wide, at, many in blocks.groups:

        def view(z: Tensor, h: int, at: int = at, rows: int = many * wide, many: int = many) -> Tensor:
            return z[at * h * size : (at + rows) * h * size].view(many * kv_heads, -1, size)

        q, k, v = three
        found.append(((view(q, heads), view(k, kv_heads), view(v, kv_heads)), view(other, heads)))
    return found


def _bmm(a: Tensor, b: Tensor, out: Tensor | None = None) -> Tensor:
    """a [K, r, s] · b [K, s, t] (into `out`), in float32 one oneDNN product per head (see products.py)."""
    out = a.new_empty(len(a), a.shape[1], b.shape[2]) if out is None else out
    if a.dtype != torch.float32:
        return torch.bmm(a, b, out=out)
    for x, y, z in zip(a, b, out, strict=True):
        z.copy_(torch.ops.mkldnn._linear_pointwise(x, y.t(), None, "none", [], ""))
    return out
