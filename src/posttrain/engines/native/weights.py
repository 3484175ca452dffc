"""The Hugging Face module's own weights, laid out for few and large matrix products.

Axes: H hidden, I intermediate, D head size, Q query heads, K key/value heads.

q, k and v become one matrix, gate and up another. The rows of q and k are reordered within each head so that the two
halves which rotary embedding turns together stand side by side: the rotation is then one complex product. Scores
q . k do not change when both are reordered alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from posttrain.engines.native.adapters import UnsupportedError, active, causal_model, projection
from posttrain.engines.native.kernel import Kernel, load_kernel
from posttrain.engines.native.products import FEW, Product
from posttrain.models.forward import KNOWN, altered_module

SUPPORTED = ("llama", "qwen2", "qwen3")


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes that the runner and the cache need."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocab: int
    context: int
    eps: float

    @property
    def group(self) -> int:
        """Query heads that share one key/value head."""
        return self.heads // self.kv_heads

    def kv_bytes_per_token(self, itemsize: int) -> int:
        return 2 * self.layers * self.kv_heads * self.head_dim * itemsize


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer. Norms are in the precision that decoding works in."""

    input_norm: Tensor  # [H]
    qkv: Product  # H -> (Q + 2K) D
    qk_norm: Tensor | None  # [Q + K, D], Qwen3 only
    out: Product  # Q D -> H
    mlp_norm: Tensor  # [H]
    gate_up: Product  # H -> 2 I
    down: Product  # I -> H


@dataclass(frozen=True, slots=True)
class Weights:
    """The whole model with matrices of one precision on one device.

    With the kernel, what flows between the products of decoding, norms and cache included, is float32.
    """

    shape: Shape
    embed: Tensor  # [V, H]
    layers: tuple[Layer, ...]
    norm: Tensor  # [H]
    head: Product  # H -> V
    activation: Callable[[Tensor], Tensor]
    rotation: Tensor  # complex64 [context, D / 2]
    kernel: Kernel | None  # where it can run this model in this precision

    @property
    def flow(self) -> torch.dtype:
        """Precision of decoding between the products, and of keys and values."""
        return torch.float32 if self.kernel is not None else self.embed.dtype


def read_shape(model: nn.Module) -> Shape:
    """Sizes from the module's config. UnsupportedError for what the lean path doesn't know."""
    config: Any = model.config
    kind = getattr(config, "model_type", "?")
    if kind not in SUPPORTED:
        raise UnsupportedError(f"its model_type is {kind!r}, not one of {', '.join(SUPPORTED)}")
    own = type(causal_model(model)).__name__
    if own not in KNOWN:
        raise UnsupportedError(f"it is a {own}, which may compute something else than {', '.join(KNOWN)}")
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    if kinds != {"full_attention"}:
        raise UnsupportedError(f"it has layers of type {', '.join(sorted(kinds - {'full_attention'}))}")
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type", "default") in ("dynamic", "longrope"):
        raise UnsupportedError(f"its rotary angles depend on the text's length (rope_type {rope['rope_type']!r})")
    if rope.get("partial_rotary_factor", 1.0) != 1.0:
        raise UnsupportedError("only a part of each head is rotated (partial_rotary_factor)")
    heads = config.num_attention_heads
    return Shape(
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        heads=heads,
        kv_heads=config.num_key_value_heads,
        head_dim=getattr(config, "head_dim", None) or config.hidden_size // heads,
        intermediate=config.intermediate_size,
        vocab=config.vocab_size,
        context=config.max_position_embeddings,
        eps=config.rms_norm_eps,
    )


def rotation_table(model: nn.Module, length: int, device: torch.device) -> Tensor:
    """e^(i angle) times the module's attention scaling, complex64 [length, D / 2], by the module's own code."""
    rotary: Any = model.model.rotary_emb  # type: ignore[union-attr]
    position = torch.arange(length, device=device)[None]
    cos, sin = rotary(torch.zeros(1, dtype=torch.float32, device=device), position)
    half = cos.shape[-1] // 2
    return torch.complex(cos[0, :, :half].float(), sin[0, :, :half].float()).contiguous()


def _interleave(rows: Tensor, heads: int) -> Tensor:
    """Reorder within each head: (0, D/2, 1, D/2 + 1, ...)."""
    rest = rows.shape[1:]
    return rows.view(heads, 2, -1, *rest).transpose(1, 2).reshape(rows.shape)


def read_weights(
    model: nn.Module, shape: Shape, rotation: Tensor, dtype: torch.dtype | None, *, compiled: bool, rows: int
) -> Weights:
    """Lay out the module's present weights for at most `rows` running samples.

    Few rows read the module's own matrices (only q and k are copied); for many they are packed, which takes some
    milliseconds for a small model. UnsupportedError where the modules do more than their weights say.
    """
    source: Any = model
    if (altered := altered_module(model)) is not None:
        raise UnsupportedError(f"its module {altered!r} has hooks or a forward of its own")
    with torch.inference_mode():
        embed, head = active(source.model.embed_tokens).weight, projection(source.lm_head)
        kind = dtype or head[0].dtype
        kernel = _kernel(source, shape, kind, embed.device) if compiled else None
        flow = torch.float32 if kernel is not None else kind
        few = rows <= FEW
        return Weights(
            shape=shape,
            embed=embed.to(kind),
            layers=tuple(_layer(module, shape, kind, kernel, few=few) for module in source.model.layers),
            norm=source.model.norm.weight.to(flow),
            head=Product([head[0].to(kind)], _join([head[1]], kind), kernel, few=few),
            activation=source.model.layers[0].mlp.act_fn,
            rotation=rotation,
            kernel=kernel,
        )


def _join(parts: list[Tensor | None], dtype: torch.dtype) -> Tensor | None:
    """The present parts one below the other; None where there are none (biases that a model doesn't have)."""
    present = [part.to(dtype) for part in parts if part is not None]
    return torch.cat(present) if present else None


def _layer(module: Any, shape: Shape, dtype: torch.dtype, kernel: Kernel | None, *, few: bool) -> Layer:
    flow = torch.float32 if kernel is not None else dtype
    attention, mlp = module.self_attn, module.mlp
    q, q_bias = projection(attention.q_proj)
    k, k_bias = projection(attention.k_proj)
    v, v_bias = projection(attention.v_proj)
    out, out_bias = projection(attention.o_proj)
    gate, gate_bias = projection(mlp.gate_proj)
    up, up_bias = projection(mlp.up_proj)
    down, down_bias = projection(mlp.down_proj)
    qkv_bias = norm = None
    if q_bias is not None and k_bias is not None:
        qkv_bias = _join([_interleave(q_bias, shape.heads), _interleave(k_bias, shape.kv_heads), v_bias], dtype)
    if hasattr(attention, "q_norm"):
        q_norm, k_norm = _interleave(attention.q_norm.weight, 1), _interleave(attention.k_norm.weight, 1)
        norm = _join([q_norm.expand(shape.heads, -1), k_norm.expand(shape.kv_heads, -1)], flow)
    heads = [_interleave(q, shape.heads), _interleave(k, shape.kv_heads), v]
    return Layer(
        input_norm=module.input_layernorm.weight.to(flow),
        qkv=Product([part.to(dtype) for part in heads], qkv_bias, kernel, few=few),
        qk_norm=norm,
        out=Product([out.to(dtype)], _join([out_bias], dtype), kernel, few=few),
        mlp_norm=module.post_attention_layernorm.weight.to(flow),
        gate_up=Product(
            [gate.to(dtype), up.to(dtype)],
            _join([gate_bias, up_bias], dtype),
            kernel,
            few=few,
            gated=kernel is not None,
        ),
        down=Product([down.to(dtype)], _join([down_bias], dtype), kernel, few=few),
    )


def _kernel(source: Any, shape: Shape, dtype: torch.dtype, device: torch.device) -> Kernel | None:
    known = device.type == "cpu" and dtype in (torch.float32, torch.bfloat16)
    fits = known and source.config.hidden_act in ("silu", "swish")
    return load_kernel(shape.head_dim, shape.group) if fits else None
