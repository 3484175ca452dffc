"""Engines by name, for the stages that sample from a module they hold."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import nn

    from posttrain.engines.base import Engine
    from posttrain.engines.vllm.config import VLLMConfig

EngineName = Literal["native", "hf", "vllm"]


def open_engine(
    name: EngineName,
    model: nn.Module,
    tokenizer: Any,
    *,
    pad_id: int,
    max_batch: int,
    folder: Path,
    dtype: str = "float32",
    vllm: VLLMConfig | None = None,
    prefill_chunk: int = 8192,
) -> Engine:
    """The engine `name` that serves `model`. The caller closes it, and calls `load_weights` when the model has changed.

    folder: for the logs of a server. dtype: of native, and of a server whose config names none; hf has the module's.
    prefill_chunk: prompt tokens that native computes between two tokens of the running samples.
    Raises EngineError where the engine can't be had or doesn't know the model.
    """
    if name == "vllm":
        from posttrain.engines.vllm.engine import VLLMEngine

        return VLLMEngine(model, folder=folder, config=vllm, max_batch=max_batch, tokenizer=tokenizer, dtype=dtype)
    if name == "hf":
        from posttrain.engines.hf import HFEngine

        return HFEngine(model, pad_id=pad_id, max_batch=max_batch, tokenizer=tokenizer)
    import torch

    from posttrain.engines.native import NativeEngine

    # Weights that stay float32 under autocast are sampled from in the precision they are trained in.
    narrow = torch.bfloat16 if dtype == "bfloat16" else None
    return NativeEngine(
        model, pad_id=pad_id, max_batch=max_batch, tokenizer=tokenizer, dtype=narrow, prefill_chunk=prefill_chunk
    )
