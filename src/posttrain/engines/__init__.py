"""Engines turn prompts into Completions and score given tokens; base.py has the protocol.

The engines are imported on first use, so that asking this package for a record loads no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from posttrain.engines.base import Engine, Prompt, Sampling

if TYPE_CHECKING:
    from posttrain.engines.hf import HFEngine
    from posttrain.engines.native import NativeEngine
    from posttrain.engines.openai.engine import OpenAIEngine

_HOMES = {
    "NativeEngine": "native",
    "HFEngine": "hf",
    "OpenAIEngine": "openai.engine",
}

__all__ = ["Engine", "HFEngine", "NativeEngine", "OpenAIEngine", "Prompt", "Sampling"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
