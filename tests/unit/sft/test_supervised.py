"""The supervised step by hand, its losses, and its independence of how the batch is split."""

from __future__ import annotations

import random

import pytest
import torch
from tests.unit.engines.tiny import VOCAB, tiny

from posttrain.errors import DataError
from posttrain.models import train_tokenizer
from posttrain.prompts import Example
from posttrain.sft.pretrain import concatenate_and_cut
from posttrain.sft.supervised import supervised_step
from posttrain.training.batches import micro_batches
from posttrain.training.config import TrainingConfig
from posttrain.training.distributed import Ranks

PAD = 0


class Recorder:
    """Stands in for the Updater: keeps the gradient and moves nothing."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.model = model
        self.ranks = Ranks()
        self.gradient = torch.zeros(0)

    def apply(self, step: int, what: str) -> dict[str, float]:
        self.gradient = torch.cat([p.grad.flatten() for p in self.model.parameters() if p.grad is not None])
        return {}


def step(
    examples: list[Example], aggregation: str, budget: int = 8192, *, packed: bool = False
) -> tuple[dict[str, float], torch.Tensor]:
    """(metrics, whole gradient) of one step on a fresh model."""
    model = tiny("qwen2")
    recorder = Recorder(model)
    settings = TrainingConfig()
    micros = micro_batches(examples, budget, PAD, padded=not packed)
    row = supervised_step(settings, aggregation, micros, len(examples), model, recorder, 0)  # type: ignore[arg-type]
    return row, recorder.gradient


def nll(model: torch.nn.Module, example: Example) -> torch.Tensor:
    """Negative log-likelihood of the response's tokens [n]."""
    ids = torch.tensor([example.ids])
    every = torch.log_softmax(model(ids).logits[0, :-1], -1).gather(-1, ids[0, 1:, None])[:, 0]
    return -every[[i - 1 for i, m in enumerate(example.mask) if m]]


TWO = [
    Example((5, 17, 4, 60, 61, 62), (0, 0, 0, 1, 1, 1)),
    Example((9, 2, 33, 34, 35, 36, 37, 38, 39), (0, 0, 1, 1, 1, 1, 1, 1, 1)),
]


@pytest.mark.parametrize("aggregation", ["token_mean", "sequence_sum"])
def test_two_sequences_by_hand(aggregation: str) -> None:
    """per_token: (3 + 7 tokens) sum/10. per_sequence: the sum of each sequence, averaged over the 2."""
    model = tiny("qwen2")
    first, second = nll(model, TWO[0]).sum(), nll(model, TWO[1]).sum()
    expected = (first + second) / (10 if aggregation == "token_mean" else 2)
    expected.backward()
    by_hand = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    row, found = step(TWO, aggregation)
    assert row["loss"] == pytest.approx(expected.item(), rel=1e-5)
    assert row["nll"] == pytest.approx((first + second).item() / 10, rel=1e-5)
    assert row["supervised_tokens"] == 10
    assert row["tokens"] == 15
    assert (found - by_hand).norm() <= 1e-5 * by_hand.norm()


@pytest.mark.parametrize("aggregation", ["token_mean", "sequence_mean", "sequence_sum"])
def test_gradient_is_the_same_however_the_batch_is_split(aggregation: str) -> None:
    draw = random.Random(3)
    examples = []
    for _ in range(10):
        prompt, response = draw.randint(8, 12), draw.randint(1, 20)
        ids = tuple(draw.randrange(VOCAB) for _ in range(prompt + response))
        examples.append(Example(ids, (0,) * prompt + (1,) * response))
    row, whole = step(examples, aggregation, 1 << 20)
    for packed in (False, True):
        for budget in (16, 64, 100):  # 16: one sequence at a time
            split_row, split = step(examples, aggregation, budget, packed=packed)
            assert split_row["loss"] == pytest.approx(row["loss"], rel=1e-5)
            assert (split - whole).norm() <= 1e-5 * whole.norm()


def test_eight_at_once_are_four_twos_and_eight_ones_packed_or_padded_or_by_the_module(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    draw = random.Random(5)
    examples = [Example(tuple(draw.randrange(VOCAB) for _ in range(16)), (0,) * 6 + (1,) * 10) for _ in range(8)]
    row, whole = step(examples, "token_mean", 8 * 16)
    for micros in (1, 2, 8):
        for packed in (False, True):
            found, gradient = step(examples, "token_mean", 8 * 16 // micros, packed=packed)
            assert (gradient - whole).norm() <= 1e-5 * whole.norm()
            assert found["supervised_tokens"] == row["supervised_tokens"] == 80
    monkeypatch.setattr("posttrain.models.logprobs.supports", lambda model: False)
    assert (step(examples, "token_mean", 64)[1] - whole).norm() <= 1e-5 * whole.norm()


def test_the_questions_tokens_are_context_and_not_lessons() -> None:
    """The gradient of the output layer's row of a token that only the question holds comes from the softmax alone."""
    example = Example((7, 8, 9, 50, 51), (0, 0, 0, 1, 1))
    everything = Example(example.ids, (1,) * 5)
    assert step([example], "token_mean")[0]["supervised_tokens"] == 2
    assert step([everything], "token_mean")[0]["supervised_tokens"] == 4, "the first token has no predecessor"
    assert not torch.allclose(step([example], "token_mean")[1], step([everything], "token_mean")[1])


def test_blocks_are_the_documents_end_to_end() -> None:
    texts = ["Tom has 3 pens.", "Ann has 40 kites and 2 drums.", "A train of 12 cars."] * 5
    tokenizer = train_tokenizer(texts, 300)
    blocks = concatenate_and_cut(texts, tokenizer, 16)
    ids = [i for block in blocks for i in block.ids]
    assert {len(b.ids) for b in blocks} == {16}
    assert all(all(b.mask) for b in blocks)
    end = tokenizer.convert_ids_to_tokens(ids).index("<|endoftext|>")
    assert tokenizer.decode(ids[:end]) == texts[0]
    with pytest.raises(DataError, match="fewer than one block of 4096"):
        concatenate_and_cut(texts, tokenizer, 4096)
