"""Schemas of this room. No torch here."""

from __future__ import annotations

from pydantic import Field

from posttrain.config import Config


class TinyConfig(Config):
    """Shape of a model made from scratch. hidden 128 × 4 layers and 512 tokens of vocabulary is about 0.9M weights."""

    hidden: int = Field(128, ge=8)
    layers: int = Field(4, ge=1)
    heads: int = Field(4, ge=1)
    kv_heads: int | None = Field(None, ge=1)
    """None = as many as heads."""
    feed_forward: int | None = Field(None, ge=8)
    """None = 8/3 of hidden, rounded up to 32."""
    vocabulary: int = Field(512, ge=264)
    """256 bytes and the special tokens are always in."""
    context: int = Field(512, ge=16)
