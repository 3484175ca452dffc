"""draw.c, compiled once per machine: a draw per row without the passes over memory that PyTorch's operations take."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from posttrain.models.compiler import load_library, processor

_SOURCE = Path(__file__).with_name("draw.c")
_STRETCH = 1024  # as in draw.c


@cache
def _function() -> Any:
    """None where there is no compiler."""
    library = load_library(_SOURCE, flags=("-ffp-contract=fast", *processor()))
    if library is None:
        return None
    function = library.draw
    function.restype, function.argtypes = None, [ctypes.c_void_p] * 5 + [ctypes.c_int64] * 2
    return function


def draw_compiled(logits: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor] | None:
    """Tokens [B] and log-probabilities [B] from softmax(logits [B, V]) by inverse CDF at uniform [B, 1], both float32.

    None where the compiled function can't be had: no compiler, or not float32 on the CPU.
    """
    function = _function() if logits.device.type == "cpu" and logits.dtype == torch.float32 else None
    if function is None:
        return None
    logits, uniform = logits.contiguous(), uniform.contiguous()
    rows, vocab = logits.shape
    tokens = torch.empty(rows, dtype=torch.int64)
    logprobs = torch.empty(rows)
    sums = torch.empty(rows, -(-vocab // _STRETCH))
    function(
        logits.data_ptr(),
        uniform.data_ptr(),
        tokens.data_ptr(),
        logprobs.data_ptr(),
        sums.data_ptr(),
        rows,
        vocab,
    )
    return tokens, logprobs
