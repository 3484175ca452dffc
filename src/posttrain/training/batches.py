"""From sequences with loss masks to micro-batches under a token budget, in an order that a seed determines."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from posttrain.errors import DataError
from posttrain.seeding import derive


class Masked(Protocol):
    """Token ids and, aligned with them, which are supervised (1) or context (0). prompts.Example is one."""

    @property
    def ids(self) -> Sequence[int]: ...

    @property
    def mask(self) -> Sequence[int]: ...


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of concatenated sequences; a Masked like any other."""

    ids: tuple[int, ...]
    mask: tuple[int, ...]


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


def micro_batches(
    sequences: Sequence[Masked], token_budget: int, pad_id: int, device: str = "cpu", *, padded: bool = True
) -> list[MicroBatch]:
    """Micro-batches of at most `token_budget` tokens (at least one sequence each).

    padded: the model computes the padding of its rows, so rows of like length stand together (sorted, then cut so that
    rows × longest fits). Otherwise padding costs nothing, and the sequences are packed: best fit, longest first.
    The first token of a sequence has no predecessor, so a mask there is ignored.
    """
    groups = _bucketed(sequences, token_budget) if padded else best_fit([len(s.ids) for s in sequences], token_budget)
    return [collate(sequences, group, pad_id, device) for group in groups]


def _bucketed(sequences: Sequence[Masked], token_budget: int) -> list[list[int]]:
    order = sorted(range(len(sequences)), key=lambda i: (len(sequences[i].ids), i))
    groups: list[list[int]] = []
    for i in order:
        longest = len(sequences[i].ids)
        if groups and (len(groups[-1]) + 1) * longest <= token_budget:
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups


def best_fit(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Best-fit decreasing bin packing: each item, longest first, goes into the fullest bin that still holds it.

    Needs at most 11/9 of the fewest bins possible (Johnson, 1973). An item longer than the capacity gets its own bin.
    """
    rooms: list[tuple[int, int]] = []  # (room left, bin), ascending
    bins: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        at = bisect.bisect_left(rooms, (lengths[i], -1))
        if at == len(rooms):
            bins.append([i])
            room, chosen = capacity - lengths[i], len(bins) - 1
        else:
            room, chosen = rooms.pop(at)
            bins[chosen].append(i)
            room -= lengths[i]
        bisect.insort(rooms, (room, chosen))
    return bins


def collate(sequences: Sequence[Masked], group: Sequence[int], pad_id: int, device: str) -> MicroBatch:
    """The micro-batch of these members of `sequences`."""
    longest = max(len(sequences[i].ids) for i in group)
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


def cut_blocks(sequences: Sequence[Masked], block: int) -> list[Block]:
    """CS336's packing: sequences end to end, cut into blocks of `block` ids; the tail is dropped.

    Each block is one sequence for the model, so attention crosses from one example into the next, and a block may begin
    in the middle of one. DataError when all sequences together are shorter than one block.
    """
    ids = [i for s in sequences for i in s.ids]
    mask = [m for s in sequences for m in s.mask]
    if len(ids) < block:
        raise DataError(
            f"the examples have {len(ids)} tokens in all, fewer than one block of {block}. Lower block, or use "
            "packing: documents."
        )
    starts = range(0, len(ids) - block + 1, block)
    return [Block(tuple(ids[i : i + block]), tuple(mask[i : i + block])) for i in starts]
