from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posttrain.errors import DataError
from posttrain.training.batches import batch_indices, best_fit, cut_blocks, micro_batches, steps_of_epochs


@dataclass
class Sequence:
    ids: tuple[int, ...]
    mask: tuple[int, ...]


def made(lengths):
    return [Sequence(tuple(range(1, n + 1)), (0,) + (1,) * (n - 1)) for n in lengths]


@given(st.lists(st.integers(2, 40), min_size=1, max_size=30), st.integers(16, 200))
def test_every_supervised_token_is_in_exactly_one_micro_batch_under_the_budget(lengths, budget):
    sequences = made(lengths)
    micros = micro_batches(sequences, budget, pad_id=0)
    assert sorted(m for micro in micros for m in micro.members) == list(range(len(lengths)))
    assert sum(micro.row.shape[0] for micro in micros) == sum(n - 1 for n in lengths)
    for micro in micros:
        assert micro.ids.numel() <= budget or micro.ids.shape[0] == 1
        for r, member in enumerate(micro.members):
            length = lengths[member]
            assert micro.ids[r, :length].tolist() == list(sequences[member].ids)
            assert micro.ids[r, length:].eq(0).all()


def test_a_mask_on_the_first_token_is_ignored_because_nothing_predicts_it():
    (micro,) = micro_batches([Sequence((5, 6), (1, 1))], 16, pad_id=0)
    assert micro.col.tolist() == [1]


def test_gather_follows_the_order_of_the_supervised_tokens():
    sequences = made([4, 2])
    (micro,) = micro_batches(sequences, 100, pad_id=0)
    values = [[0.1, 0.2, 0.3], [0.9]]
    assert np.allclose(micro.gather(values).numpy(), [0.9, 0.1, 0.2, 0.3])


@given(st.integers(1, 50), st.integers(1, 20), st.integers(0, 2**40))
def test_an_epoch_visits_every_item_once_whatever_the_batch_size(n, batch_size, seed):
    steps = -(-n // batch_size)
    visited = [i for step in range(steps) for i in batch_indices(n, batch_size, seed, step)]
    assert sorted(visited[:n]) == list(range(n))


def test_the_order_depends_on_seed_and_epoch_only():
    assert batch_indices(100, 10, 1, 3) == batch_indices(100, 10, 1, 3)
    assert batch_indices(100, 10, 1, 3) != batch_indices(100, 10, 2, 3)
    first, second = ([i for s in range(10) for i in batch_indices(100, 10, 1, e * 10 + s)] for e in (0, 1))
    assert first != second
    # other batch sizes cut the same stream elsewhere
    assert first == [i for s in range(5) for i in batch_indices(100, 20, 1, s)]


def test_steps_cover_the_epochs():
    assert steps_of_epochs(100, 32, 1) == 4
    assert steps_of_epochs(128, 32, 2) == 8
    assert steps_of_epochs(10, 32, 0.1) == 1


@given(st.lists(st.integers(1, 60), min_size=1, max_size=60), st.integers(20, 100))
def test_best_fit_holds_every_item_once_and_needs_few_bins(lengths, capacity):
    bins = best_fit(lengths, capacity)
    assert sorted(i for b in bins for i in b) == list(range(len(lengths)))
    filled = [sum(lengths[i] for i in b) for b in bins]
    assert all(total <= capacity or len(b) == 1 for total, b in zip(filled, bins, strict=True))
    fitting = [n for n in lengths if n <= capacity]
    assert len(bins) - (len(lengths) - len(fitting)) <= 11 / 9 * max(1, -(-2 * sum(fitting) // capacity)) + 1


def test_best_fit_by_hand():
    assert best_fit([5, 7, 3, 4, 1], 10) == [[1, 2], [0, 3, 4]]


@given(st.lists(st.integers(2, 40), min_size=1, max_size=30), st.integers(16, 200))
def test_packs_count_real_tokens_only(lengths, budget):
    sequences = made(lengths)
    micros = micro_batches(sequences, budget, pad_id=0, padded=False)
    assert sorted(m for micro in micros for m in micro.members) == list(range(len(lengths)))
    assert all(micro.real_tokens <= budget or len(micro.members) == 1 for micro in micros)
    assert sum(micro.row.shape[0] for micro in micros) == sum(n - 1 for n in lengths)


def test_blocks_are_the_sequences_end_to_end_with_their_masks():
    sequences = made([5, 3, 4])
    blocks = cut_blocks(sequences, 5)
    assert [i for b in blocks for i in b.ids] == [1, 2, 3, 4, 5, 1, 2, 3, 1, 2], "the tail is dropped"
    assert [m for b in blocks for m in b.mask] == [0, 1, 1, 1, 1, 0, 1, 1, 0, 1]
    with pytest.raises(DataError, match="12 tokens in all, fewer than one block of 16"):
        cut_blocks(sequences, 16)
