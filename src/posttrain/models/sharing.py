"""Prefixes that several documents share are computed once: the rollouts of a group share their prompt and often more.

The tokens of all documents form a tree, and a token's hidden state depends on its path from the root alone. So
everything but attention runs on the nodes of the tree; attention gathers each document's queries, keys and values from
them, and of equal results the first is taken. Values and gradients are those of the separate documents: what each
document would send back to a shared token is summed by the gather's own backward pass.

Documents of one token budget from 16 prompts x 8 rollouts of a small reasoning model hold two to three times as many
tokens as their tree has nodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Tree:
    """Nodes 0 … n-1 of the documents' tree, and the documents that attention still needs, end to end.

    A document that is a prefix of another (or its copy) adds no node and is left out of `lengths`.
    """

    ids: np.ndarray  # [n] int64, token of each node
    nodes: list[np.ndarray]  # per document, in the order they were given: the node of each of its tokens
    lengths: tuple[int, ...]  # of the documents that are kept
    gather: np.ndarray  # [sum of lengths] int64, node of each of their tokens
    first: np.ndarray  # [n] int64, where in `gather` a node stands first

    @property
    def shares(self) -> bool:
        return len(self.gather) > len(self.ids) or len(self.lengths) < len(self.nodes)


def tree_of(documents: Sequence[Sequence[int]]) -> Tree:
    """The tree of the documents (none of them empty). In sorted order a document shares with its predecessor whatever
    it shares with any before it, so one pass over neighbours finds every common prefix."""
    arrays = [np.asarray(d, dtype=np.int64) for d in documents]
    nodes: list[np.ndarray] = [np.empty(0, dtype=np.int64)] * len(arrays)
    ids: list[np.ndarray] = []
    paths: list[np.ndarray] = []
    firsts: list[np.ndarray] = []
    before = path = np.empty(0, dtype=np.int64)
    count = rows = 0
    # Longest first among equal beginnings: a prefix comes after the document that contains it, and adds nothing.
    for i in sorted(range(len(arrays)), key=lambda i: (*map(int, arrays[i]), np.inf)):
        document = arrays[i]
        shared = _common(before, document)
        fresh = np.arange(count, count + len(document) - shared)
        path = np.concatenate([path[:shared], fresh])
        before, nodes[i] = document, path
        if len(fresh):
            ids.append(document[shared:])
            paths.append(path)
            firsts.append(np.arange(rows + shared, rows + len(document)))
            count, rows = count + len(fresh), rows + len(document)
    return Tree(np.concatenate(ids), nodes, tuple(len(p) for p in paths), np.concatenate(paths), np.concatenate(firsts))


def _common(a: np.ndarray, b: np.ndarray) -> int:
    """Length of the longest common prefix."""
    n = min(len(a), len(b))
    different = np.flatnonzero(a[:n] != b[:n])
    return int(different[0]) if len(different) else n


@dataclass(frozen=True, slots=True)
class Shared:
    """A tree's index tensors on the device, for the forward pass."""

    gather: Tensor  # [rows of the documents] int64
    first: Tensor  # [nodes] int64

    @classmethod
    def of(cls, tree: Tree, device: torch.device) -> Shared:
        return cls(torch.from_numpy(tree.gather).to(device), torch.from_numpy(tree.first).to(device))
