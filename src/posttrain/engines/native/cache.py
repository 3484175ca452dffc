"""Keys and values of the running rows: one row per sample, left-aligned, grown in blocks of tokens."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from posttrain.engines.native.weights import Shape

BLOCK = 64  # tokens


class Cache:
    """keys and values [layers, rows, K, capacity, D]. Rows in use are 0..n-1; the scheduler keeps them compact.

    budget: at most so many tokens (rows x capacity); longer rows then mean fewer of them. None: no limit but `rows`.
    """

    def __init__(
        self, shape: Shape, rows: int, device: torch.device, dtype: torch.dtype, budget: int | None = None
    ) -> None:
        self.shape, self.max_rows, self.budget = shape, rows, budget
        self.device, self.dtype = device, dtype
        self.keys, self.values = self._empty(rows, 0), self._empty(rows, 0)

    @property
    def capacity(self) -> int:
        """Tokens per row."""
        return self.keys.shape[3]

    def rows_at(self, length: int) -> int:
        """How many rows there may be when each must hold `length` tokens (or as many as it holds now); at least 1."""
        if self.budget is None:
            return self.max_rows
        return max(1, min(self.max_rows, self.budget // max(self.capacity, _whole_blocks(length))))

    def _empty(self, rows: int, capacity: int) -> Tensor:
        s = self.shape
        # Zeros, not `empty`: masked positions take part in products with weight 0, and 0 x NaN would be NaN.
        return torch.zeros(s.layers, rows, s.kv_heads, capacity, s.head_dim, device=self.device, dtype=self.dtype)

    def clear(self) -> None:
        """Give the memory back."""
        self.keys, self.values = self._empty(self.max_rows, 0), self._empty(self.max_rows, 0)

    def reserve(self, length: int, used_rows: int, most: int) -> None:
        """Make room for `length` tokens per row, keeping the first `used_rows`; half more each time, up to `most`."""
        if length <= self.capacity:
            return
        # A budget leaves no slack: every token of capacity costs rows.
        wanted = length if self.budget is not None else max(length, min(most, self.capacity * 3 // 2))
        rows, capacity, old = self.rows_at(wanted), _whole_blocks(wanted), self.capacity
        assert used_rows <= rows, "the scheduler preempts before it reserves"
        for name in ("keys", "values"):
            before = getattr(self, name)
            grown = self._empty(rows, capacity)
            if old and used_rows:
                grown[:, :used_rows, :, :old] = before[:, :used_rows]
            setattr(self, name, grown)
            del before

    def fill(self, start: int, source: Sequence[int], layers: Sequence[tuple[Tensor, Tensor]], length: int) -> None:
        """Rows start, start+1, ... become copies of rows `source` of prefilled k and v [B, K, >= length, D]."""
        index = torch.as_tensor(source, device=self.device)
        stop = start + len(source)
        for number, (k, v) in enumerate(layers):
            self.keys[number, start:stop, :, :length] = k[index, :, :length]
            self.values[number, start:stop, :, :length] = v[index, :, :length]

    def move(self, source: Sequence[int], target: Sequence[int], length: int) -> None:
        """Copy rows `source` over rows `target`, `length` tokens of each."""
        a = torch.as_tensor(source, device=self.device)
        b = torch.as_tensor(target, device=self.device)
        self.keys[:, b, :, :length] = self.keys[:, a, :, :length]
        self.values[:, b, :, :length] = self.values[:, a, :, :length]


def _whole_blocks(length: int) -> int:
    return -(-length // BLOCK) * BLOCK
