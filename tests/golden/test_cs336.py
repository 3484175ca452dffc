"""The CS336 helpers: shapes of the assignment, values by hand, and the same gradients as our own packed losses."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from posttrain import cs336
from posttrain.errors import DataError, RecipeError
from posttrain.rl.algorithms.loss import Row, policy_loss
from posttrain.rl.algorithms.objectives import Tokens
from posttrain.training.aggregation import Denominators


class Letters:
    """A token per character (2 for those below 62); 0 pads, 1 ends."""

    pad_token_id = 0
    eos_token_id = 1

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        del add_special_tokens
        return [max(2, ord(c) - 60) for c in text]


class Bigram(torch.nn.Module):
    """Logits of the next token from the present one."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.table = torch.nn.Parameter(torch.randn(80, 80, generator=torch.Generator().manual_seed(seed)))

    def forward(self, ids: torch.Tensor) -> Any:
        return SimpleNamespace(logits=self.table[ids.clamp(0, 79)])


def test_prompt_and_output_are_tokenised_apart_and_the_mask_is_aligned_with_the_labels() -> None:
    made = cs336.tokenize_prompt_and_output(["AB", "C"], ["DE", "FGH"], Letters())
    assert made["input_ids"].tolist() == [[5, 6, 8], [7, 10, 11]]
    assert made["labels"].tolist() == [[6, 8, 9], [10, 11, 12]]
    assert made["response_mask"].tolist() == [[False, True, True], [True, True, True]]
    short = cs336.tokenize_prompt_and_output(["A", "A"], ["B", "BCD"], Letters())
    assert short["labels"][0].tolist() == [6, 0, 0]
    assert short["response_mask"][0].tolist() == [True, False, False]


def test_entropy_and_log_probabilities() -> None:
    torch.testing.assert_close(cs336.compute_entropy(torch.zeros(2, 3, 8)), torch.full((2, 3), math.log(8)))
    model, ids, labels = Bigram(0), torch.tensor([[3, 5]]), torch.tensor([[5, 7]])
    found = cs336.get_response_log_probs(model, ids, labels, return_token_entropy=True)
    assert found["log_probs"].shape == found["token_entropy"].shape == (1, 2)
    assert found["log_probs"][0, 1] == torch.log_softmax(model.table[5], -1)[7]
    assert set(cs336.get_response_log_probs(model, ids, labels)) == {"log_probs"}


def test_masked_sums_and_means() -> None:
    x, mask = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), torch.tensor([[1, 1, 0], [0, 0, 1]])
    assert cs336.masked_normalize(x, mask, 3.0).item() == pytest.approx(3.0)
    assert cs336.masked_normalize(x, mask, normalize_constant=3.0, dim=-1).tolist() == pytest.approx([1.0, 2.0])
    assert cs336.masked_mean(x, mask).item() == pytest.approx(3.0)
    assert cs336.masked_mean(x, mask, dim=1).tolist() == pytest.approx([1.5, 6.0])
    assert cs336.masked_mean(x, mask, dim=0).tolist()[:2] == pytest.approx([1.0, 2.0])


def reward(response: str, truth: str) -> dict[str, float]:
    right = float(response == truth)
    return {"reward": right, "format_reward": 1.0, "answer_reward": right}


@pytest.mark.parametrize("by_std", [False, True])
def test_group_normalized_rewards(by_std: bool) -> None:
    advantages, raw, told = cs336.compute_group_normalized_rewards(
        reward, ["a", "b", "b", "b"], ["a", "a", "b", "b"], 2, 1e-6, by_std
    )
    assert raw.tolist() == [1, 0, 1, 1]
    scale = math.sqrt(0.5) + 1e-6 if by_std else 1.0
    assert advantages.tolist() == pytest.approx([0.5 / scale, -0.5 / scale, 0.0, 0.0])
    assert told["answer_reward"] == 0.75
    with pytest.raises(DataError, match="groups of 3"):
        cs336.compute_group_normalized_rewards(reward, ["a"] * 4, ["a"] * 4, 3, 1e-6, by_std)


def test_policy_gradient_losses_by_name() -> None:
    logprobs, old = torch.log(torch.tensor([[1.5, 0.5]])), torch.zeros(1, 2)
    a = torch.tensor([[2.0]])
    naive, _ = cs336.compute_policy_gradient_loss(logprobs, "no_baseline", raw_rewards=a)
    assert torch.equal(naive, -2.0 * logprobs)
    clipped, told = cs336.compute_policy_gradient_loss(
        logprobs, "grpo_clip", advantages=a, old_log_probs=old, cliprange=0.2
    )
    assert clipped.tolist()[0] == pytest.approx([-2.4, -1.0])
    assert told["clipped"].tolist() == [[True, False]]
    with pytest.raises(RecipeError, match="needs advantages"):
        cs336.compute_policy_gradient_loss(logprobs, "reinforce_with_baseline", raw_rewards=a)


def test_the_sft_step_is_the_mean_over_sequences_of_summed_losses() -> None:
    logprobs = torch.tensor([[-1.0, -2.0], [-3.0, -4.0]], requires_grad=True)
    loss, _ = cs336.sft_microbatch_train_step(logprobs, torch.tensor([[1, 1], [1, 0]]), 2, 3.0)
    assert loss.item() == pytest.approx((3 + 3) / 3 / 2 / 2)
    assert logprobs.grad is not None
    assert logprobs.grad.tolist() == [[pytest.approx(-1 / 12), pytest.approx(-1 / 12)], [pytest.approx(-1 / 12), 0]]


def test_the_grpo_step_has_the_gradient_of_our_row() -> None:
    values, mask = torch.tensor([[-1.0, -0.5, -2.0], [-0.7, -1.1, -9.0]]), torch.tensor([[1, 1, 1], [1, 1, 0]])
    old, a = values + torch.tensor([[0.1, -0.4, 0.3], [0.3, 0.0, 0.0]]), torch.tensor([[0.8], [-0.6]])
    theirs = values.clone().requires_grad_()
    loss, told = cs336.grpo_microbatch_train_step(
        theirs, mask, 4, "grpo_clip", advantages=a, old_log_probs=old, cliprange=0.2
    )
    keep, ours = mask.bool(), values.clone().requires_grad_()
    sequence = keep.nonzero()[:, 0]
    tokens = Tokens(ours[keep], old[keep], a[:, 0][sequence], sequence)
    expected, _ = policy_loss(Row("ppo_clip", "sequence_mean"), tokens, old[keep], Denominators(2, 5))
    (expected / 4).backward()
    assert loss.item() == pytest.approx(expected.item() / 4)
    torch.testing.assert_close(theirs.grad, ours.grad)
    assert told["clip_fraction"].item() == pytest.approx(2 / 5)


def test_the_dpo_loss_is_its_formula_and_log_2_for_the_reference_itself() -> None:
    model, reference, tokenizer = Bigram(0), Bigram(1), Letters()
    asked = (tokenizer, 0.5, "what", "good", "bad")
    assert cs336.compute_per_instance_dpo_loss(model, model, *asked).item() == pytest.approx(math.log(2))

    def logprob(m: Bigram, response: str) -> float:
        made = cs336.tokenize_prompt_and_output(
            [cs336.ALPACA.format(instruction="what", response="")], [response], tokenizer
        )
        ids = torch.cat([made["input_ids"], made["labels"][:, -1:], torch.tensor([[1]])], 1)
        scores = cs336.get_response_log_probs(m, ids[:, :-1], ids[:, 1:])["log_probs"]
        return float(scores[0, -len(response) - 1 :].sum().detach())

    margin = (logprob(model, "good") - logprob(model, "bad")) - (logprob(reference, "good") - logprob(reference, "bad"))
    loss = cs336.compute_per_instance_dpo_loss(model, reference, *asked)
    assert loss.item() == pytest.approx(math.log1p(math.exp(-0.5 * margin)), rel=1e-4)


def test_the_packed_data_set_lays_documents_end_to_end(tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(json.dumps({"prompt": "p" * n, "response": "r"}) + "\n" for n in (3, 4)))
    made = cs336.PackedSFTDataset(Letters(), file, 16, shuffle=False)
    ids = made.ids.tolist()
    assert ids.count(1) == 2
    assert len(made) == (len(ids) - 1) // 16
    first, second = made[0], made[1]
    assert first["labels"].tolist() == [*first["input_ids"].tolist()[1:], second["input_ids"][0].item()]
    sizes = [len(batch["input_ids"]) for batch in cs336.iterate_batches(made, 4, shuffle=True)]
    assert sizes == [4] * (len(made) // 4) + ([len(made) % 4] if len(made) % 4 else [])
