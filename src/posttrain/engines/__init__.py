"""Engines turn prompts into Completions and score given tokens; base.py has the protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from posttrain.engines.base import Engine, Prompt, Sampling

if TYPE_CHECKING:
    from posttrain.engines.native import NativeEngine

__all__ = ["Engine", "NativeEngine", "Prompt", "Sampling"]


def __getattr__(name: str) -> Any:
    # on first use: the protocol and its records stay importable without torch
    if name == "NativeEngine":
        from posttrain.engines.native import NativeEngine

        return NativeEngine
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
