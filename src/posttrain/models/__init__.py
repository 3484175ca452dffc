"""Models: load and save in the ordinary Hugging Face layout, tiny ones from scratch, chunked log-probabilities.

The names are imported on first use, so that asking this package for one thing doesn't load torch for another.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from posttrain.models.config import LoraConfig, TinyConfig
    from posttrain.models.load import load_model, load_tokenizer, pick_device, save_model
    from posttrain.models.logprobs import TokenStats, token_stats
    from posttrain.models.lora import adapters_off, has_adapters
    from posttrain.models.tiny import tiny_model, train_tokenizer

_HOMES = {
    "load_model": "load",
    "load_tokenizer": "load",
    "pick_device": "load",
    "save_model": "load",
    "TokenStats": "logprobs",
    "token_stats": "logprobs",
    "LoraConfig": "config",
    "TinyConfig": "config",
    "adapters_off": "lora",
    "has_adapters": "lora",
    "tiny_model": "tiny",
    "train_tokenizer": "tiny",
}

__all__ = [
    "LoraConfig",
    "TinyConfig",
    "TokenStats",
    "adapters_off",
    "has_adapters",
    "load_model",
    "load_tokenizer",
    "pick_device",
    "save_model",
    "tiny_model",
    "token_stats",
    "train_tokenizer",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
