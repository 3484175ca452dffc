"""The training forward pass of Llama, Qwen2 and Qwen3, without padding: the module's weights in fewer, larger steps.

transformers' modules compute the same; what they spend beside the matrix products (masks, rotary tables per call,
upcasts, several passes over memory for each norm and activation) is most of a small model's time on a CPU. Here

- documents lie end to end, without padding and without a mask: attention stays inside each of them;
- q, k and v are one product, gate and up another; in float32 on the CPU by oneDNN (products.py);
- norms, rotation, softmax and gated activation are one pass each, with gradients by hand (lean.py), where a C compiler
  is at hand, and PyTorch's operations otherwise;
- a prefix that several documents share is computed once (sharing.py);
- after the last layer's attention only the rows that the loss looks at go on.

Adapters and quantised layers are called as modules. Whatever else hangs on the modules (hooks, sharded weights, another
architecture) is not known here: `supports` says no, and the caller runs the module itself.

Axes: n rows (tokens and padding at the end), H hidden, Q query heads, K key/value heads, D head size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from posttrain.models.attention import Documents, attend
from posttrain.models.causal import WIDEST, Attention, Blocks
from posttrain.models.lean import AddNorm, Swiglu, lean
from posttrain.models.products import linear
from posttrain.models.sharing import Shared

KNOWN = ("LlamaForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")
ROUND = 64  # rows are padded to a multiple of this on the CPU: oneDNN prepares itself once per shape
_WATCHING = "transformers.utils.output_capturing"  # where its hooks for hidden states and attentions are from
FLEX = "_posttrain_flex"  # an attribute of the module: attention by FlexAttention


def supports(model: nn.Module) -> bool:
    """Whether `hidden_states` computes what this model's own forward would."""
    inner = causal_lm(model)
    if type(inner).__name__ not in KNOWN:
        return False
    config: Any = inner.config
    rope = getattr(config, "rope_parameters", None) or {}
    return (
        set(getattr(config, "layer_types", None) or ["full_attention"]) == {"full_attention"}
        and rope.get("rope_type", "default") not in ("dynamic", "longrope")
        and config.hidden_act in ("silu", "swish")
        and not (inner.training and config.attention_dropout)
        and altered_module(inner) is None
        and not any(module._compiled_call_impl is not None for module in inner.modules())
        and not any(hasattr(p, "device_mesh") for p in inner.parameters())
    )


def altered_module(inner: nn.Module) -> str | None:
    """Which module has hooks or a forward of its own: somebody expects it to be called (FSDP, a profiler, steering).

    Not looked at are the embedding, on which PEFT hangs for a gradient's sake, and transformers' hooks that only watch.
    """
    for name, module in inner.named_modules():
        if name == "model.embed_tokens":
            continue
        hooks = [*module._forward_hooks.values(), *module._forward_pre_hooks.values(), *module._backward_hooks.values()]
        if "forward" in module.__dict__ or any(getattr(hook, "__module__", "") != _WATCHING for hook in hooks):
            return name or type(inner).__name__
    return None


def causal_lm(model: nn.Module) -> Any:
    """The causal language model inside PEFT's wrapper, or the model."""
    unwrap = getattr(model, "get_base_model", None)
    return unwrap() if callable(unwrap) else model


@dataclass(frozen=True, slots=True)
class _Sizes:
    heads: int
    kv_heads: int
    head: int
    compiled: bool  # lean.c does what stands between the products
    dtype: torch.dtype  # of the products


def hidden_states(
    model: nn.Module, ids: Tensor, documents: Documents, rows: Tensor, shared: Shared | None = None
) -> Tensor:
    """Final hidden states (after the last norm) of `rows` [m] int64: [m, H], in the dtype of the products.

    ids: [n] int64, documents end to end; or the nodes of their tree, of which `shared` makes documents for attention.
    Under autocast the products are in its dtype, else in the weights'.
    """
    inner = causal_lm(model)
    decoder, device = inner.model, ids.device
    dtype = inner.lm_head.weight.dtype
    if torch.is_autocast_enabled(device.type):
        dtype = torch.get_autocast_dtype(device.type)
    sizes = _sizes(inner.config, device, dtype)
    picked = rows
    if device.type == "cpu":
        ids = F.pad(ids, (0, -len(ids) % ROUND))
        picked = torch.cat([rows, rows[:1].expand(-len(rows) % ROUND)])
    rows_in = len(ids) if shared is None else documents.rows
    attention = _attention(sizes, documents, decoder, rows_in, device, flex=getattr(inner, FLEX, False))
    if shared is not None:
        attention = _on_tree(attention, shared, len(ids))
    with torch.autocast(device.type, enabled=False):
        x, delta = decoder.embed_tokens(ids).float(), None
        for i, layer in enumerate(decoder.layers):
            last = picked if i == len(decoder.layers) - 1 else None
            if layer.training and getattr(layer, "gradient_checkpointing", False):
                x, delta = checkpoint(_layer, layer, x, delta, attention, sizes, last, use_reentrant=False)
            else:
                x, delta = _layer(layer, x, delta, attention, sizes, last)
        return _add_norm(x, delta, decoder.norm, sizes)[1][: len(rows)]


def _sizes(config: Any, device: torch.device, dtype: torch.dtype) -> _Sizes:
    heads = config.num_attention_heads
    head = getattr(config, "head_dim", None) or config.hidden_size // heads
    compiled = (
        device.type == "cpu"
        and dtype in (torch.float32, torch.bfloat16)
        and not config.hidden_size % 16
        and not config.intermediate_size % 16
        and lean() is not None
    )
    return _Sizes(heads, config.num_key_value_heads, head, compiled, dtype)


def _on_tree(attention: Callable[[Tensor], Tensor], shared: Shared, rows: int) -> Callable[[Tensor], Tensor]:
    """Attention over documents whose tokens are nodes of a tree: [rows, (Q + 2K) D] → [rows, Q D]. Padding gets the
    result of node 0, which nobody reads."""
    first = F.pad(shared.first, (0, rows - len(shared.first)))
    return lambda qkv: attention(qkv.index_select(0, shared.gather)).index_select(0, first)


def _attention(
    sizes: _Sizes, documents: Documents, decoder: Any, rows: int, device: torch.device, *, flex: bool
) -> Callable[[Tensor], Tensor]:
    """qkv [rows, (Q + 2K) D], not yet rotated → [rows, Q D]."""
    longest = max(documents.lengths)
    positions = torch.arange(longest, device=device)
    cosine, sine = decoder.rotary_emb(torch.zeros(1, device=device), positions[None])
    q, k, d = sizes.heads, sizes.kv_heads, sizes.head
    if not flex and sizes.compiled and longest <= WIDEST and not d % 32:
        half = [table[0, :, : d // 2].float().contiguous() for table in (cosine, sine)]
        blocks = Blocks.of(list(documents.lengths))
        return lambda qkv: Attention.apply(qkv, blocks, q, k, d, *half)  # type: ignore[no-untyped-call]
    at = documents.positions(rows, device)
    cosine, sine = cosine[0][at][:, None], sine[0][at][:, None]

    def plain(qkv: Tensor) -> Tensor:
        both, v = torch.split(qkv.view(len(qkv), -1, d), [q + k, k], dim=1)
        turned = torch.cat([-both[..., d // 2 :], both[..., : d // 2]], dim=-1)
        rotated = (both * cosine + turned * sine).to(qkv.dtype)
        return attend(rotated[:, :q], rotated[:, q:], v, documents, flex=flex)

    return plain


def _layer(
    layer: Any,
    x: Tensor,
    delta: Tensor | None,
    attention: Callable[[Tensor], Tensor],
    sizes: _Sizes,
    last: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """One decoder layer on the residual stream x [n, H] float32 and what is still to be added to it.

    last: in the last layer, the rows that go on.
    """
    attn, mlp = layer.self_attn, layer.mlp
    x, normed = _add_norm(x, delta, layer.input_layernorm, sizes)
    qkv = linear(normed, attn.q_proj, attn.k_proj, attn.v_proj)
    if hasattr(attn, "q_norm"):
        qkv = _norm_heads(qkv, attn, sizes)
    mixed = attention(qkv)
    if last is not None:
        x, mixed = x.index_select(0, last), mixed.index_select(0, last)
    x, normed = _add_norm(x, linear(mixed, attn.o_proj), layer.post_attention_layernorm, sizes)
    gate_up = linear(normed, mlp.gate_proj, mlp.up_proj)
    if sizes.compiled:
        inner = Swiglu.apply(gate_up)  # type: ignore[no-untyped-call]
    else:
        gate, up = gate_up.chunk(2, dim=-1)
        inner = F.silu(gate) * up
    return x, linear(inner, mlp.down_proj)


def _add_norm(x: Tensor, delta: Tensor | None, norm: Any, sizes: _Sizes) -> tuple[Tensor, Tensor]:
    """(x + delta, its RMS norm in the products' dtype)."""
    eps = norm.variance_epsilon
    if sizes.compiled:
        return AddNorm.apply(x, delta, norm.weight, eps, sizes.dtype)  # type: ignore[no-any-return, no-untyped-call]
    x = x if delta is None else x + delta
    return x, F.rms_norm(x, x.shape[-1:], norm.weight.float(), eps).to(sizes.dtype)


def _norm_heads(qkv: Tensor, attn: Any, sizes: _Sizes) -> Tensor:
    """Qwen3's RMS norms of every query and key head."""
    q, k, v = torch.split(qkv.view(len(qkv), -1, sizes.head), [sizes.heads, sizes.kv_heads, sizes.kv_heads], dim=1)
    parts = [
        F.rms_norm(z.float(), z.shape[-1:], norm.weight.float(), norm.variance_epsilon).to(qkv.dtype)
        for z, norm in ((q, attn.q_norm), (k, attn.k_norm))
    ]
    return torch.cat([*parts, v], dim=1).flatten(1)
