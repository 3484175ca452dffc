"""Keys and values of the running rows: one row per sample, left-aligned, grown in blocks of tokens."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from posttrain.engines.native.weights import Shape

BLOCK = 64  # tokens


class Cache:
    """keys and values [layers, rows, K, capacity, D]. Rows in use are 0..n-1; the scheduler keeps them compact."""

    def __init__(self, shape: Shape, rows: int, device: torch.device, dtype: torch.dtype) -> None:
        self.shape, self.rows = shape, rows
        self.device, self.dtype = device, dtype
        self.keys, self.values = self._empty(0), self._empty(0)

    @property
    def capacity(self) -> int:
        return self.keys.shape[3]

    def _empty(self, capacity: int) -> Tensor:
        s = self.shape
        # Zeros, not `empty`: masked positions take part in products with weight 0, and 0 x NaN would be NaN.
        return torch.zeros(s.layers, self.rows, s.kv_heads, capacity, s.head_dim, device=self.device, dtype=self.dtype)

    def reserve(self, length: int, used_rows: int, most: int) -> None:
        """Make room for `length` tokens per row, keeping the first `used_rows`; half more each time, up to `most`."""
        if length <= self.capacity:
            return
        wanted = max(length, min(most, self.capacity * 3 // 2))
        old_keys, old_values, old = self.keys, self.values, self.capacity
        self.keys, self.values = self._empty(0), self._empty(0)
        capacity = -(-wanted // BLOCK) * BLOCK
        for name, before in (("keys", old_keys), ("values", old_values)):
            grown = self._empty(capacity)
            if old and used_rows:
                grown[:, :used_rows, :, :old] = before[:, :used_rows]
            setattr(self, name, grown)

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
