"""The `vllm` engine: a managed vLLM server in an environment of its own, spoken to over HTTP with token ids.

config.py what can be set; server.py a server's life; client.py requests; weights.py updates and their proof; engine.py
the Engine protocol over them. Asking for the config loads no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from posttrain.engines.vllm.config import VLLMConfig

if TYPE_CHECKING:
    from posttrain.engines.vllm.engine import VLLMEngine

__all__ = ["VLLMConfig", "VLLMEngine"]


def __getattr__(name: str) -> Any:
    if name != "VLLMEngine":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module("posttrain.engines.vllm.engine").VLLMEngine
