"""How large a model is, from its shape alone. No torch here: planning reads it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from posttrain.hub.mirror import find
from posttrain.models.base import BASE, is_adapter, read_base
from posttrain.models.config import TinyConfig
from posttrain.models.known import known_config


@dataclass(frozen=True, slots=True)
class Shape:
    """Of a decoder of the Llama family. `bias`: of the q, k and v projections. `qk_norm`: Qwen3's two per layer."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head: int
    feed_forward: int
    vocabulary: int
    tied: bool
    bias: bool
    qk_norm: bool

    @property
    def parameters(self) -> int:
        """Every weight, embeddings included."""
        return self.vocabulary * self.hidden * (1 if self.tied else 2) + self.layers * self._layer + self.hidden

    @property
    def working(self) -> int:
        """The weights that a token is multiplied with: all but an embedding table that is only looked up."""
        return self.parameters - (0 if self.tied else self.vocabulary * self.hidden)

    @property
    def kv_values(self) -> int:
        """Numbers that a cache of keys and values keeps for one token."""
        return 2 * self.layers * self.kv_heads * self.head

    def adapters(self, rank: int) -> int:
        """Numbers in LoRA adapters of `rank` on every linear layer but the output projection."""
        queries, keys = self.heads * self.head, self.kv_heads * self.head
        attention = 2 * (self.hidden + queries) + 2 * (self.hidden + keys)
        return self.layers * rank * (attention + 3 * (self.hidden + self.feed_forward))

    @property
    def _layer(self) -> int:
        queries, keys = self.heads * self.head, self.kv_heads * self.head
        attention = self.hidden * (queries + 2 * keys) + queries * self.hidden
        attention += (queries + 2 * keys if self.bias else 0) + (2 * self.head if self.qk_norm else 0)
        return attention + 3 * self.hidden * self.feed_forward + 2 * self.hidden


def tiny_feed_forward(config: TinyConfig) -> int:
    """Width of a tiny model's inner layer: as asked for, else 8/3 of hidden, rounded up to a multiple of 32."""
    return config.feed_forward or -(-config.hidden * 8 // 3 // 32) * 32


def tiny_shape(config: TinyConfig) -> Shape:
    """What `tiny_model` will make, where the corpus fills the vocabulary asked for."""
    return Shape(
        hidden=config.hidden,
        layers=config.layers,
        heads=config.heads,
        kv_heads=config.kv_heads or config.heads,
        head=config.hidden // config.heads,
        feed_forward=tiny_feed_forward(config),
        vocabulary=config.vocabulary,
        tied=True,
        bias=True,
        qk_norm=False,
    )


def read_shape(ref: Path, revision: str | None = None) -> Shape | None:
    """The shape of a model folder, of a hub model that is in the mirror, or of one that is known by name; else None.

    Of an adapter's folder, that of its base.
    """
    folder = ref if ref.is_dir() else find("model", str(ref), revision)
    if folder is not None and is_adapter(folder):
        base = read_base(folder)
        near = folder / (base.get("near") or BASE)
        return read_shape(near if near.is_dir() else Path(base["ref"]), base.get("revision"))
    if folder is None:
        told = known_config(str(ref))
        return shape_of(told) if told is not None else None
    if not (folder / "config.json").is_file():
        return None
    return shape_of(json.loads((folder / "config.json").read_text(encoding="utf-8")))


def shape_of(config: Mapping[str, Any]) -> Shape | None:
    """The shape that a config.json tells; None for another family than Llama, Qwen2 and Qwen3."""
    kind = config.get("model_type")
    if kind not in ("llama", "qwen2", "qwen3"):
        return None
    heads = int(config["num_attention_heads"])
    return Shape(
        hidden=int(config["hidden_size"]),
        layers=int(config["num_hidden_layers"]),
        heads=heads,
        kv_heads=int(config.get("num_key_value_heads") or heads),
        head=int(config.get("head_dim") or config["hidden_size"] // heads),
        feed_forward=int(config["intermediate_size"]),
        vocabulary=int(config["vocab_size"]),
        tied=bool(config.get("tie_word_embeddings", False)),
        bias=kind == "qwen2" or bool(config.get("attention_bias", False)),
        qk_norm=kind == "qwen3",
    )
