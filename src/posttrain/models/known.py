"""Shapes of models that recipes name, so that a plan needs neither the model nor a network. No torch."""

from __future__ import annotations

import re
from typing import Any

_QWEN25 = r"Qwen/Qwen2\.5-(?:Math-|Coder-)?{}(?:-Instruct)?"
_QWEN3 = r"Qwen/Qwen3-{}(?:-Base)?"
_LLAMA = r"meta-llama/(?:Meta-)?Llama-3\.[12]-{}(?:-Instruct)?"
_FIELDS = (
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "intermediate_size",
    "vocab_size",
)

# As their config.json says: the fields above, a head's size where it isn't hidden / heads, whether embeddings are tied.
_KNOWN: tuple[tuple[str, str, tuple[int, ...], int | None, bool], ...] = (
    (_QWEN25.format(r"0\.5B"), "qwen2", (896, 24, 14, 2, 4864, 151936), None, True),
    (_QWEN25.format(r"1\.5B"), "qwen2", (1536, 28, 12, 2, 8960, 151936), None, True),
    (_QWEN25.format("3B"), "qwen2", (2048, 36, 16, 2, 11008, 151936), None, True),
    (_QWEN25.format("7B"), "qwen2", (3584, 28, 28, 4, 18944, 152064), None, False),
    (_QWEN3.format(r"0\.6B"), "qwen3", (1024, 28, 16, 8, 3072, 151936), 128, True),
    (_QWEN3.format(r"1\.7B"), "qwen3", (2048, 28, 16, 8, 6144, 151936), 128, True),
    (_QWEN3.format("4B"), "qwen3", (2560, 36, 32, 8, 9728, 151936), 128, True),
    (_QWEN3.format("8B"), "qwen3", (4096, 36, 32, 8, 12288, 151936), 128, False),
    (_LLAMA.format("1B"), "llama", (2048, 16, 32, 8, 8192, 128256), 64, True),
    (_LLAMA.format("3B"), "llama", (3072, 28, 24, 8, 8192, 128256), 128, True),
    (_LLAMA.format("8B"), "llama", (4096, 32, 32, 8, 14336, 128256), 128, False),
)


def known_config(name: str) -> dict[str, Any] | None:
    """What of the config.json of a hub's model tells its shape; None for a model that isn't known here."""
    for pattern, kind, sizes, head, tied in _KNOWN:
        if re.fullmatch(pattern, name):
            told: dict[str, Any] = {"model_type": kind, "tie_word_embeddings": tied}
            told |= dict(zip(_FIELDS, sizes, strict=True))
            return told | ({"head_dim": head} if head is not None else {})
    return None
