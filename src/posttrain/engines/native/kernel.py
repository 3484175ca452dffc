"""kernel.c, compiled once per machine and head shape by the C compiler at hand, and called through ctypes.

Without a compiler (or off Linux) there is no kernel, and the runner takes PyTorch's operations instead: same results,
about a third slower on small models.
"""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from posttrain.models.compiler import load_library, processor

_SOURCE = Path(__file__).with_name("kernel.c")
_PACKED = Path(__file__).with_name("packed.h")
LANES = 16  # floats of a vector
PANEL = 2 * LANES  # outputs of a packed matrix that stand side by side


class Kernel:
    """The compiled functions for one head shape. Tensors are float32, contiguous, on the CPU."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._norm, self._silu, self._attend = library.rms_norm, library.silu_product, library.attend
        self._products = {torch.float32: library.product_float, torch.bfloat16: library.product_bfloat}
        for function in (self._norm, self._silu, self._attend, *self._products.values()):
            function.restype = None
        pointer, integer, number = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float
        self._norm.argtypes = [pointer] * 3 + [integer] * 2 + [number]
        self._silu.argtypes = [pointer] * 2 + [integer] * 2
        self._attend.argtypes = [pointer] * 3 + [number] + [pointer] * 2 + [integer] * 2 + [pointer] * 3 + [integer] * 3

        self._rotate = library.rotate
        self._rotate.restype, self._rotate.argtypes = None, [pointer] * 3 + [number] + [integer] * 4
        for function in self._products.values():
            function.argtypes = [pointer] * 4 + [integer] * 4
        self._inputs = {torch.float32: torch.float32, torch.bfloat16: torch.float32}
        if library.bfloat_inputs():
            self._inputs[torch.bfloat16] = torch.bfloat16
        self._packers: dict[torch.dtype, Any] = {}
        self._packed: dict[torch.dtype, Any] = {}
        for dtype, name in ((torch.float32, "packed_float"), (torch.bfloat16, "packed_bfloat")):
            if hasattr(library, name):  # only where the processor has the registers for it
                self._packers[dtype], self._packed[dtype] = getattr(library, f"{name}_pack"), getattr(library, name)
                self._packers[dtype].restype = self._packed[dtype].restype = None
                self._packers[dtype].argtypes = [pointer] * 2 + [integer] * 2
                self._packed[dtype].argtypes = [pointer] * 5 + [integer] * 4

    def packs(self, weight: Tensor) -> bool:
        """Whether `pack` takes this matrix [O, I]."""
        return weight.dtype in self._packers and weight.shape[1] % 2 == 0

    def pack(self, weight: Tensor) -> Tensor:
        """weight [O, I] laid out for `packed_product`: [panels, I, PANEL], whatever the order within."""
        outs, inputs = weight.shape
        to = weight.new_empty(-(-outs // PANEL), inputs, PANEL)
        weight = weight.contiguous()
        self._packers[weight.dtype](weight.data_ptr(), to.data_ptr(), outs, inputs)
        return to

    def packed_product(
        self, x: Tensor, packed: Tensor, outs: int, bias: Tensor | None, add: Tensor | None, *, gated: bool
    ) -> Tensor:
        """x [B, I] float32 times the packed matrix, plus bias [whole panels] and add [B, O]: [B, O] float32.

        gated: outputs stand as 16 gates and then their 16 partners; the result is silu(gate) * partner [B, O / 2].
        In bfloat16 x is rounded as the module's forward does.
        """
        inputs = x.to(packed.dtype)
        out = x.new_empty(x.shape[0], outs // 2 if gated else outs)
        self._packed[packed.dtype](
            inputs.data_ptr(),
            packed.data_ptr(),
            None if bias is None else bias.data_ptr(),
            None if add is None else add.data_ptr(),
            out.data_ptr(),
            x.shape[0],
            x.shape[1],
            outs,
            gated,
        )
        return out

    def rotate(
        self, qkv: Tensor, rotation: Tensor, qk_norm: Tensor | None, eps: float, length: int, start: int, kv_heads: int
    ) -> None:
        """Norms (where there is one) and turns the queries and keys of qkv [B T, (Q + 2K) D] in place.

        length: T; start: the position of each text's first row; rotation complex64 [context, D / 2].
        """
        self._rotate(
            qkv.data_ptr(),
            rotation.data_ptr(),
            None if qk_norm is None else qk_norm.data_ptr(),
            eps,
            qkv.shape[0],
            length,
            start,
            kv_heads,
        )

    def multiplies(self, weight: Tensor) -> bool:
        """Whether `product` takes this matrix [O, I]."""
        return weight.dtype in self._products and weight.is_contiguous() and weight.shape[1] % 32 == 0

    def product(self, x: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor, column: int) -> None:
        """out[:, column : column + O] = x [B, I] times weight [O, I] (float32 or bfloat16) transposed + bias [O].

        x, bias and out [B, >= column + O] are float32, contiguous. For few rows: up to some 16, reading the matrix is
        what takes time. Where the processor multiplies in bfloat16, x is rounded to it as the module's forward does.
        """
        inputs = x.to(self._inputs[weight.dtype])
        self._products[weight.dtype](
            inputs.data_ptr(),
            weight.data_ptr(),
            None if bias is None else bias.data_ptr(),
            out.data_ptr() + 4 * column,
            out.stride(0),
            x.shape[0],
            x.shape[1],
            weight.shape[0],
        )

    def rms_norm(self, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        """x [B, H] / rms * weight [H]."""
        out = torch.empty_like(x)
        self._norm(x.data_ptr(), weight.data_ptr(), out.data_ptr(), x.shape[0], x.shape[1], eps)
        return out

    def silu_product(self, gate_up: Tensor) -> Tensor:
        """silu(gate) * up [B, I] of gate_up [B, 2 I]."""
        rows, width = gate_up.shape[0], gate_up.shape[1] // 2
        out = gate_up.new_empty(rows, width)
        self._silu(gate_up.data_ptr(), out.data_ptr(), rows, width)
        return out

    @staticmethod
    def scratch(x: Tensor, heads: int, longest: int) -> Tensor:
        """Room for the scores of `attend`: [B, heads, longest rounded up to whole vectors]."""
        return x.new_empty(x.shape[0], heads, -(-longest // LANES) * LANES)

    def attend(
        self,
        qkv: Tensor,
        rotation: Tensor,
        qk_norm: Tensor | None,
        eps: float,
        keys: Tensor,
        values: Tensor,
        lengths: Tensor,
        scores: Tensor,
    ) -> Tensor:
        """Attention of one new token per row; writes its key and value into the cache.

        qkv [B, (Q + 2K) D], rotation complex64 [context, D / 2], keys and values [rows, K, capacity, D],
        lengths [B] int64, scores: scratch [B, Q, longest] as `scratch` makes it. Returns [B, Q D].
        """
        batch, queries, longest = scores.shape
        kv_heads, head_dim = keys.shape[1], keys.shape[3]
        out = qkv.new_empty(batch, queries * head_dim)
        self._attend(
            qkv.data_ptr(),
            rotation.data_ptr(),
            None if qk_norm is None else qk_norm.data_ptr(),
            eps,
            keys.data_ptr(),
            values.data_ptr(),
            keys.stride(0),
            keys.stride(1),
            lengths.data_ptr(),
            out.data_ptr(),
            scores.data_ptr(),
            longest,
            batch,
            kv_heads,
        )
        return out


@cache
def load_kernel(head_dim: int, group: int) -> Kernel | None:
    """The kernel for this head size and query heads per key/value head, or None where it can't be had."""
    if head_dim % LANES:
        return None
    shape = (f"-DHEAD_DIM={head_dim}", f"-DGROUP={group}")
    library = load_library(_SOURCE, (_PACKED,), flags=("-ffp-contract=fast", *processor(), *shape))
    return Kernel(library) if library is not None else None
