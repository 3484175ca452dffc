"""Decoding with fixed buffers and shapes, so that a GPU replays a step as one CUDA graph.

A small model's step is a thousand short kernels: started one by one from Python they take longer than they run.
Rows and reach (cached tokens looked at) are rounded up to few sizes, each captured once. Rows beyond the running ones
compute nonsense into free rows of the cache, and nobody looks. On the CPU the same code runs without graphs: so it is
tested where there is no GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from posttrain.engines.native import runner
from posttrain.engines.native.cache import Cache
from posttrain.engines.native.weights import Weights

REACH = 128  # cached tokens are looked at in steps of so many
WARM_UPS = 2  # runs before a capture: libraries allocate and choose their algorithms in the first


class StaticDecoder:
    """`runner.decode` over buffers of its own; keeps its graphs as long as weights and cache stay where they are."""

    def __init__(self, rows: int, device: torch.device) -> None:
        self.buffer = torch.zeros(2, rows, dtype=torch.long, device=device)  # tokens, lengths
        self.captured: dict[tuple[int, int], tuple[Any, Tensor]] = {}
        self._place: tuple[int, ...] = ()
        self._weights: Weights | None = None
        self._pool: Any = None

    def __call__(self, tokens: NDArray[np.int64], lengths: NDArray[np.int64], cache: Cache, weights: Weights) -> Tensor:
        """Logits [n, V] after one more token for each of n rows. They hold until the next call."""
        n = len(tokens)
        most = cache.keys.shape[1]
        rows = min(_rounded(n), most, self.buffer.shape[1])
        reach = min(-(-(int(lengths.max()) + 1) // REACH) * REACH, cache.capacity)
        host = np.zeros((2, rows), dtype=np.int64)
        host[0, :n], host[1, :n] = tokens, lengths
        self.buffer[:, :rows].copy_(torch.from_numpy(host))
        place = (cache.keys.data_ptr(), cache.values.data_ptr())
        if place != self._place or weights is not self._weights:
            self.captured.clear()
            self._place, self._weights = place, weights
        if self.buffer.device.type != "cuda":
            return self._run(rows, reach, cache, weights)[:n]
        if (rows, reach) not in self.captured:
            self.captured[rows, reach] = self._capture(rows, reach, cache, weights)
        graph, logits = self.captured[rows, reach]
        graph.replay()
        return logits[:n]

    def _run(self, rows: int, reach: int, cache: Cache, weights: Weights) -> Tensor:
        # shortest -1: the mask is always made, since nothing here may depend on what the lengths are.
        return runner.decode(self.buffer[0, :rows], self.buffer[1, :rows], -1, reach, cache, weights)

    def _capture(self, rows: int, reach: int, cache: Cache, weights: Weights) -> tuple[Any, Tensor]:
        """Writing the new token's key and value again is writing the same: warm-ups and capture change nothing."""
        side: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UPS):
                self._run(rows, reach, cache, weights)
        torch.cuda.current_stream().wait_stream(side)
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            logits = self._run(rows, reach, cache, weights)
        return graph, logits


def _rounded(rows: int) -> int:
    """1, 2, 4, 8, then multiples of 16: few graphs, and at most 15 rows in vain."""
    return 1 << (rows - 1).bit_length() if rows <= 8 else -(-rows // 16) * 16


def tensors(weights: Weights) -> Iterator[Tensor]:
    """Every tensor that decoding reads, in one order."""
    products = [weights.head]
    yield weights.embed
    yield weights.norm
    yield weights.rotation
    for layer in weights.layers:
        yield layer.input_norm
        yield layer.mlp_norm
        if layer.qk_norm is not None:
            yield layer.qk_norm
        products += [layer.qkv, layer.out, layer.gate_up, layer.down]
    for product in products:
        yield from product.parts
        if product.bias is not None:
            yield product.bias


def settle(old: Weights, new: Weights) -> Weights:
    """`new`'s values in `old`'s memory, so that graphs captured over `old` hold on; `new` where the two don't match."""
    pairs = list(zip(tensors(old), tensors(new), strict=False))
    same = len(pairs) == sum(1 for _ in tensors(new)) == sum(1 for _ in tensors(old))
    if not same or any(a.shape != b.shape or a.dtype != b.dtype or a.device != b.device for a, b in pairs):
        return new
    for mine, theirs in pairs:
        if mine.data_ptr() != theirs.data_ptr():
            mine.copy_(theirs)
    return old
