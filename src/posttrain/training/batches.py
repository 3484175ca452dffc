"""From sequences with loss masks to micro-batches under a token budget, in an order that a seed determines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from posttrain.seeding import derive


class Masked(Protocol):
    """Token ids and, aligned with them, which are supervised (1) or context (0). prompts.Example is one."""

    @property
    def ids(self) -> Sequence[int]: ...

    @property
    def mask(self) -> Sequence[int]: ...


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Right-padded ids [batch, time] and, flat, the supervised tokens: ids[row, col] with col ≥ 1, each [n]."""

    ids: Tensor
    row: Tensor
    col: Tensor
    members: tuple[int, ...]  # positions in the list of sequences it was made from, one per row
    real_tokens: int  # without padding

    def gather(self, values: Sequence[Sequence[float]]) -> Tensor:
        """Per-token values, given per member sequence in the order of its supervised tokens, as [n] float32."""
        flat = [v for member in self.members for v in values[member]]
        return torch.tensor(flat, dtype=torch.float32, device=self.ids.device)


def micro_batches(sequences: Sequence[Masked], token_budget: int, pad_id: int, device: str = "cpu") -> list[MicroBatch]:
    """Length-bucketed: sorted by length, then cut so that rows × longest ≤ token_budget (at least one row each).

    Padding costs real time on a CPU, and sorting by length removes almost all of it. The first token of a sequence has
    no predecessor, so a mask there is ignored.
    """
    order = sorted(range(len(sequences)), key=lambda i: (len(sequences[i].ids), i))
    groups: list[list[int]] = []
    for i in order:
        longest = len(sequences[i].ids)
        if groups and (len(groups[-1]) + 1) * longest <= token_budget:
            groups[-1].append(i)
        else:
            groups.append([i])
    return [_collate(sequences, group, pad_id, device) for group in groups]


def _collate(sequences: Sequence[Masked], group: Sequence[int], pad_id: int, device: str) -> MicroBatch:
    longest = len(sequences[group[-1]].ids)
    ids = np.full((len(group), longest), pad_id, dtype=np.int64)
    mask = np.zeros((len(group), longest), dtype=bool)
    for r, i in enumerate(group):
        length = len(sequences[i].ids)
        ids[r, :length] = sequences[i].ids
        mask[r, :length] = sequences[i].mask
    mask[:, 0] = False
    row, col = mask.nonzero()
    return MicroBatch(
        ids=torch.from_numpy(ids).to(device),
        row=torch.from_numpy(row).to(device),
        col=torch.from_numpy(col).to(device),
        members=tuple(group),
        real_tokens=sum(len(sequences[i].ids) for i in group),
    )


def epoch_order(n: int, seed: int, epoch: int) -> list[int]:
    """A permutation of range(n) that depends on the seed and the epoch only."""
    return [int(i) for i in np.random.Generator(np.random.Philox(derive(seed, "epoch", epoch))).permutation(n)]


def batch_indices(n: int, batch_size: int, seed: int, step: int) -> list[int]:
    """The items of optimizer step `step` (from 0): epochs without repetition, batches running across epoch borders."""
    first = step * batch_size
    chosen: list[int] = []
    orders: dict[int, list[int]] = {}
    for position in range(first, first + batch_size):
        epoch, offset = divmod(position, n)
        if epoch not in orders:
            orders[epoch] = epoch_order(n, seed, epoch)
        chosen.append(orders[epoch][offset])
    return chosen


def steps_of_epochs(n: int, batch_size: int, epochs: float) -> int:
    """Optimizer steps that cover `epochs` passes over n items; the last partial batch counts as a step."""
    return max(1, -(-round(n * epochs) // batch_size))
