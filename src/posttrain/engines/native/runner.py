"""The model's forward pass, twice: many tokens of new prompts (prefill), one token of every running row (decode).

Axes: B rows, T prompt tokens, L cached tokens, Q query heads, K key/value heads, D head size, V vocabulary.
The arithmetic is that of transformers' Llama, Qwen2 and Qwen3; only the grouping of the operations differs.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from posttrain.engines.native.cache import Cache
from posttrain.engines.native.kernel import Kernel
from posttrain.engines.native.weights import Layer, Weights


def _rotate(qk: Tensor, angles: Tensor) -> None:
    """Turn pairs of neighbours of qk [..., heads, D] in place by complex `angles` [..., 1, D / 2]."""
    pairs = qk.view(*qk.shape[:-1], -1, 2)
    if qk.dtype == torch.float32:
        torch.view_as_complex(pairs).mul_(angles)
    else:
        qk.copy_(torch.view_as_real(torch.view_as_complex(pairs.float()) * angles).flatten(-2))


def _norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return F.rms_norm(x, (x.shape[-1],), weight.to(x.dtype), eps)


def _mlp(x: Tensor, layer: Layer, weights: Weights) -> Tensor:
    shape, kernel = weights.shape, weights.kernel
    if kernel is not None:
        return layer.down(layer.gate_up(kernel.rms_norm(x, layer.mlp_norm, shape.eps)), x)
    gate, up = layer.gate_up(_norm(x, layer.mlp_norm, shape.eps)).chunk(2, dim=-1)
    return layer.down(weights.activation(gate).mul_(up), x)


def _embed(ids: Tensor, weights: Weights) -> Tensor:
    """Embeddings [tokens, H] of ids in any shape, in the precision that flows between the products."""
    return F.embedding(ids.flatten(), weights.embed).to(weights.flow)


def _heads(x: Tensor, layer: Layer, weights: Weights, length: int, start: int) -> tuple[Tensor, Tensor, Tensor]:
    """Rotated q [B, Q, T, D], k [B, K, T, D] and v of hidden states x [B T, H]; each text's T tokens follow `start`."""
    s = weights.shape
    if weights.kernel is None:
        angles = weights.rotation[start : start + length].repeat(x.shape[0] // length, 1)[:, None]
        parts = _qkv(x, layer, weights, angles)
    else:
        heads = layer.qkv(weights.kernel.rms_norm(x, layer.input_norm, s.eps))
        weights.kernel.rotate(heads, weights.rotation, layer.qk_norm, s.eps, length, start, s.kv_heads)
        whole = heads.view(-1, s.heads + 2 * s.kv_heads, s.head_dim)
        both = s.heads + s.kv_heads
        parts = whole[:, : s.heads], whole[:, s.heads : both], whole[:, both:]
    q, k, v = (part.reshape(-1, length, part.shape[1], s.head_dim).transpose(1, 2) for part in parts)
    return q, k, v


def _qkv(x: Tensor, layer: Layer, weights: Weights, angles: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rotated q [rows, Q, D], k [rows, K, D] and v of hidden states x [rows, H], by PyTorch's operations."""
    s = weights.shape
    heads = layer.qkv(_norm(x, layer.input_norm, s.eps)).view(-1, s.heads + 2 * s.kv_heads, s.head_dim)
    both = s.heads + s.kv_heads
    if layer.qk_norm is not None:
        heads[:, :both] = F.rms_norm(heads[:, :both], (s.head_dim,), None, s.eps) * layer.qk_norm.to(x.dtype)
    _rotate(heads[:, :both], angles)
    return heads[:, : s.heads], heads[:, s.heads : both], heads[:, both:]


def head(x: Tensor, weights: Weights) -> Tensor:
    """float32 logits [rows, V] of final hidden states x [rows, H]."""
    if weights.kernel is not None:
        return weights.head(weights.kernel.rms_norm(x, weights.norm, weights.shape.eps))
    return weights.head(_norm(x, weights.norm, weights.shape.eps)).float()


def prefill(ids: Tensor, weights: Weights) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
    """Hidden states [B, T, H] before the final norm and, per layer, k and v [B, K, T, D] of ids [B, T].

    Rows are padded on the right: what stands there sees the text and is seen by nothing.
    """
    s = weights.shape
    batch, length = ids.shape
    x = _embed(ids, weights)
    cached = []
    for layer in weights.layers:
        q, k, v = _heads(x, layer, weights, length, 0)
        cached.append((k, v))
        mixed = F.scaled_dot_product_attention(
            q, k.repeat_interleave(s.group, 1), v.repeat_interleave(s.group, 1), is_causal=length > 1
        )
        x = layer.out(mixed.transpose(1, 2).reshape(batch * length, -1), x)
        x = _mlp(x, layer, weights)
    return x.view(batch, length, -1), cached


def empty_layers(batch: int, length: int, weights: Weights) -> list[tuple[Tensor, Tensor]]:
    """Room for k and v [B, K, T, D] of every layer, for `prefill_chunk` to fill."""
    s, device = weights.shape, weights.embed.device
    shape = (2, batch, s.kv_heads, length, s.head_dim)
    rooms = [torch.zeros(shape, device=device, dtype=weights.flow) for _ in range(s.layers)]
    return [(room[0], room[1]) for room in rooms]


def prefill_chunk(ids: Tensor, start: int, layers: list[tuple[Tensor, Tensor]], weights: Weights) -> Tensor:
    """`prefill` of ids [B, T] that follow `start` tokens whose k and v stand in `layers`; theirs are written there."""
    s = weights.shape
    batch, length = ids.shape
    stop = start + length
    x = _embed(ids, weights)
    before = torch.ones(length, stop, dtype=torch.bool, device=ids.device).tril(diagonal=start)
    for layer, (keys, values) in zip(weights.layers, layers, strict=True):
        q, k, v = _heads(x, layer, weights, length, start)
        keys[:, :, start:stop], values[:, :, start:stop] = k, v
        mixed = F.scaled_dot_product_attention(
            q,
            keys[:, :, :stop].repeat_interleave(s.group, 1),
            values[:, :, :stop].repeat_interleave(s.group, 1),
            attn_mask=before,
        )
        x = layer.out(mixed.transpose(1, 2).reshape(batch * length, -1), x)
        x = _mlp(x, layer, weights)
    return x.view(batch, length, -1)


def _mask(lengths: Tensor, longest: int, dtype: torch.dtype) -> Tensor:
    """[B, 1, L]: 0 where a row has text, its newest token included, -inf beyond."""
    beyond = torch.arange(longest, device=lengths.device) > lengths[:, None]
    return torch.zeros(beyond.shape, dtype=dtype, device=lengths.device).masked_fill_(beyond, float("-inf"))[:, None]


def decode(tokens: Tensor, lengths: Tensor, shortest: int, longest: int, cache: Cache, weights: Weights) -> Tensor:
    """Logits [B, V] after one more token per row: tokens [B] go to positions lengths [B] of cache rows 0..B-1.

    shortest: min(lengths); longest: max(lengths) + 1: known to the caller without asking the device.
    """
    if weights.kernel is not None:
        return _decode_compiled(tokens, lengths, longest, cache, weights, weights.kernel)
    s = weights.shape
    batch = tokens.shape[0]
    x = _embed(tokens, weights)
    rows = torch.arange(batch, device=x.device)
    angles = weights.rotation[lengths][:, None]
    mask = None if shortest + 1 == longest else _mask(lengths, longest, x.dtype)
    scale = s.head_dim**-0.5
    for number, layer in enumerate(weights.layers):
        q, k, v = _qkv(x, layer, weights, angles)
        keys, values = cache.keys[number], cache.values[number]
        keys[rows, :, lengths] = k
        values[rows, :, lengths] = v
        # The query heads that share a key/value head are the rows of one small matrix: nothing is repeated.
        grouped = q.reshape(batch * s.kv_heads, s.group, s.head_dim)
        seen = keys[:batch].flatten(0, 1)[:, :longest]
        scores = torch.bmm(grouped, seen.transpose(1, 2)).mul_(scale)
        if mask is not None:
            scores.view(batch, -1, longest).add_(mask)
        mixed = torch.bmm(scores.softmax(-1), values[:batch].flatten(0, 1)[:, :longest])
        x = layer.out(mixed.view(batch, -1), x)
        x = _mlp(x, layer, weights)
    return head(x, weights)


def _decode_compiled(
    tokens: Tensor, lengths: Tensor, longest: int, cache: Cache, weights: Weights, kernel: Kernel
) -> Tensor:
    """`decode` with the compiled kernel."""
    s = weights.shape
    x = _embed(tokens, weights)
    scores = kernel.scratch(x, s.heads, longest)
    for number, layer in enumerate(weights.layers):
        qkv = layer.qkv(kernel.rms_norm(x, layer.input_norm, s.eps))
        mixed = kernel.attend(
            qkv, weights.rotation, layer.qk_norm, s.eps, cache.keys[number], cache.values[number], lengths, scores
        )
        x = _mlp(layer.out(mixed, x), layer, weights)
    return head(x, weights)
