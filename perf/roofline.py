"""What a machine could do at best: its measured ceilings, and the bytes and operations that a generation needs.

The least time of a decode step is the larger of two: reading the weights once and the keys and values of all rows, and
two operations per weight and row. A prompt's least time is its operations. (Williams et al. 2009, "Roofline".)
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel

ITEM = {torch.float32: 4, torch.bfloat16: 2}


@dataclass(frozen=True, slots=True)
class Ceilings:
    """bandwidth: bytes per second read from memory; operations: per second in large products, by precision."""

    bandwidth: float
    operations: dict[str, float]


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes moved and operations of a generation, and the least seconds they take on a machine."""

    bytes: float
    operations: float
    least_seconds: float


def measure(device: str = "cpu", seconds: float = 1.0) -> Ceilings:
    """Each ceiling by the best of repetitions over about `seconds`."""
    size = 1 << 30 if device == "cuda" else 1 << 28
    big = torch.ones(size // 4, dtype=torch.float32, device=device)
    bandwidth = size / _best(lambda: big.sum(), device, seconds)
    operations = {}
    for dtype in ITEM:
        n = 8192 if device == "cuda" else 1536
        a, b = (torch.ones(n, n, dtype=dtype, device=device) for _ in range(2))
        best = _best(lambda a=a, b=b: a @ b, device, seconds)
        if device == "cpu" and torch.backends.mkldnn.is_available():  # MKL halves its speed on AMD processors
            best = min(best, _best(lambda a=a, b=b: _onednn(a, b), device, seconds))
        operations[str(dtype).removeprefix("torch.")] = 2 * n**3 / best
    return Ceilings(bandwidth, operations)


def _onednn(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    out: torch.Tensor = torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], "")
    return out


def _best(run: Any, device: str, seconds: float) -> float:
    best, end = float("inf"), time.perf_counter() + seconds
    run()
    while time.perf_counter() < end or best == float("inf"):
        _wait(device)
        start = time.perf_counter()
        run()
        _wait(device)
        best = min(best, time.perf_counter() - start)
    return best


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def need(model: PreTrainedModel, lengths: list[tuple[int, int]], slots: int, ceilings: Ceilings) -> Need:
    """Of samples with (prompt, answer) tokens in `slots` rows that are always full while there is work.

    A tied embedding is read once per step, as the projection; an answer's first token comes with its prompt.
    """
    config: Any = model.config
    dtype = next(model.parameters()).dtype
    item = ITEM[dtype]
    weights = sum(p.numel() for p in model.parameters())
    if not config.tie_word_embeddings:
        weights -= config.vocab_size * config.hidden_size  # the input embedding is looked up, not read
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    per_token = 2 * config.num_hidden_layers * config.num_key_value_heads * head_dim * item
    row_steps = sum(max(0, answer - 1) for _, answer in lengths)
    steps = row_steps / min(slots, len(lengths))
    cached = sum((prompt + (answer - 1) / 2) * max(0, answer - 1) for prompt, answer in lengths)
    mixing = 4 * config.num_hidden_layers * config.num_attention_heads * head_dim  # per cached token and query
    moved = steps * weights * item + cached * per_token
    decoding = 2.0 * weights * row_steps + mixing * cached
    prompts = sum(prompt for prompt, _ in lengths)
    prefill = 2.0 * weights * prompts + mixing * sum(prompt**2 / 2 for prompt, _ in lengths)
    speed = ceilings.operations[str(dtype).removeprefix("torch.")]
    least = prefill / speed + max(moved / ceilings.bandwidth, decoding / speed)
    return Need(moved + weights * item, decoding + prefill, least)
