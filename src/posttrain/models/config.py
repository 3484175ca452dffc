"""Schemas of this room. No torch here."""

from __future__ import annotations

from typing import Literal

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


Quantization = Literal["nf4", "int8"]


class LoraConfig(Config):
    """Low-rank adapters (Hu et al. 2021, arXiv 2106.09685): W0 stays; a product B·A beside it is learned."""

    rank: int = Field(16, ge=1)
    """Of B·A."""
    alpha: float = Field(32.0, gt=0)
    """B·A counts alpha/rank times."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Of the adapters' inputs."""
    targets: Literal["all-linear"] | tuple[str, ...] = "all-linear"
    """all-linear: every linear layer but the vocabulary projection; or the layers' names: [q_proj, v_proj]."""
    merge: bool = False
    """At the end `model/` is the merged model, with the adapter beside it in `adapter/`."""
