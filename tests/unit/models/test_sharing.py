"""Prefixes that documents share are computed once, and nothing changes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.engines.tiny import tiny

from posttrain.models import token_stats
from posttrain.models.sharing import tree_of

documents = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=8), min_size=1, max_size=12)


@given(documents)
def test_every_document_is_a_path_of_the_tree(given_documents: list[list[int]]) -> None:
    tree = tree_of(given_documents)
    for document, nodes in zip(given_documents, tree.nodes, strict=True):
        assert tree.ids[nodes].tolist() == document
    assert len(tree.ids) == len({tuple(d[: i + 1]) for d in given_documents for i in range(len(d))})


@given(documents)
def test_attention_sees_each_node_at_the_end_of_its_own_path(given_documents: list[list[int]]) -> None:
    tree = tree_of(given_documents)
    prefixes = {}
    at = 0
    for length in tree.lengths:
        for i in range(length):
            prefixes[at + i] = tuple(tree.ids[tree.gather[at : at + i + 1]])
        at += length
    assert at == len(tree.gather)
    for document, nodes in zip(given_documents, tree.nodes, strict=True):
        for i, node in enumerate(nodes):
            assert prefixes[int(tree.first[node])] == tuple(document[: i + 1])
    np.testing.assert_array_equal(tree.gather[tree.first], np.arange(len(tree.ids)))


@pytest.mark.parametrize("family", ["qwen2", "qwen3", "llama"])
def test_shared_prefixes_change_neither_values_nor_gradients(family: str) -> None:
    """One batch of six sequences (a common prompt, a copy, a prefix of another) against each sequence alone."""
    model = tiny(family)
    prompt = [5, 6, 7, 8]
    sequences = [
        [*prompt, 9, 10, 11],
        [*prompt, 9, 10, 12, 13],
        [*prompt, 9, 10, 11],  # a copy
        [*prompt, 9, 10],  # a prefix of the first
        [4, 3, 2, 1],
        [4, 3, 9],
    ]

    def together() -> list[torch.Tensor]:
        longest = max(map(len, sequences))
        ids = torch.tensor([s + [0] * (longest - len(s)) for s in sequences])
        row, col = zip(*((r, c) for r, s in enumerate(sequences) for c in range(2, len(s))), strict=True)
        stats = token_stats(model, ids, torch.tensor(row), torch.tensor(col))
        return list(torch.split(stats.logprobs, [len(s) - 2 for s in sequences]))

    def alone() -> list[torch.Tensor]:
        found = []
        for s in sequences:
            cols = torch.arange(2, len(s))
            found.append(token_stats(model, torch.tensor([s]), torch.zeros_like(cols), cols).logprobs)
        return found

    results = []
    for way in (together, alone):
        model.zero_grad()
        values = way()
        sum((i + 1) * v.sum() for i, v in enumerate(values)).backward()
        results.append((values, [p.grad.clone() for p in model.parameters()]))
    for a, b in zip(results[0][0], results[1][0], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    for a, b in zip(results[0][1], results[1][1], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5 * float(b.abs().max()))
