"""Every row of the table: by hand, by TRL's own code, and by verl's published definitions; values and gradients."""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from posttrain.rl.algorithms.advantages import group_advantages, whitened
from posttrain.rl.algorithms.correction import Correction, correct, importance
from posttrain.rl.algorithms.divergence import kl_estimate
from posttrain.rl.algorithms.loss import Row, policy_loss
from posttrain.rl.algorithms.objectives import Clip, Tokens
from posttrain.rl.algorithms.peers import PEERS
from posttrain.rl.algorithms.presets import PRESETS
from posttrain.rl.config import RLConfig
from posttrain.rl.learner import row_of
from posttrain.training.aggregation import Denominators

HERE = Path(__file__).parent
BATCH = json.loads((HERE / "batch.json").read_text())
TRL = json.loads((HERE / "trl-1.16.json").read_text())
PYTHON = HERE.parents[1] / ".venv-perf" / "bin" / "python"


# By hand: one group of two, rewards 1 and 0, responses of two tokens and one, ratios 1.5 and 0.9; 0.5. logπ_old = −1,
# L = 4, Δ to the reference 0.1. A of group_norm is 0.5/(√0.5 + 1e-6). Losses and gradients by pencil, to six figures.
BY_HAND: dict[str, tuple[float, list[float]]] = {
    "reinforce": (0.849948, [-0.5, -0.5, 0.0]),
    "reinforce_baseline": (-0.210800, [-0.125, -0.125, 0.25]),
    "rloo": (0.003375, [-0.5, -0.5, 0.5]),
    "grpo": (-0.088194, [0.000952, -0.158147, 0.001903]),
    "dr_grpo": (-0.08125, [0.0, -0.05625, 0.0]),
    "dapo": (-0.325268, [0.0, -0.212132, 0.0]),
    "gspo": (-0.000247, [0.0, 0.0, 0.0]),
    "cispo": (0.245143, [-0.353553, -0.212132, 0.117851]),
    "reinforce++": (-0.096225, [0.0, -0.173205, 0.0]),
}


def config(name: str, **changes: Any) -> RLConfig:
    return RLConfig.model_validate({"algorithm": name, "prompts": 1, "group": 2, "max_tokens": 4, **changes})


@pytest.mark.parametrize("name", PRESETS)
def test_a_row_by_hand(name: str) -> None:
    settings = config(name)
    advantages = group_advantages(settings.advantage, [1.0, 0.0], settings.epsilon)
    if settings.advantage == "batch_norm":
        advantages = whitened(advantages, [2, 1])
    sequence = torch.tensor([0, 0, 1])
    old = torch.full((3,), -1.0)
    logprobs = (old + torch.tensor([1.5, 0.9, 0.5]).log()).requires_grad_()
    tokens = Tokens(logprobs, old, torch.tensor(advantages, dtype=torch.float32)[sequence], sequence)
    reference = logprobs.detach() - 0.1 if settings.kl else None
    loss, _ = policy_loss(row_of(settings), tokens, old, Denominators(2, 3, settings.max_tokens), reference)
    loss.backward()
    expected, gradient = BY_HAND[name]
    assert float(loss.detach()) == pytest.approx(expected, abs=2e-6)
    assert logprobs.grad is not None
    assert logprobs.grad.tolist() == pytest.approx(gradient, abs=2e-6)


def test_every_row_has_a_hand_computed_value_and_a_word_on_each_peer() -> None:
    assert BY_HAND.keys() == PRESETS.keys() == PEERS["trl"].keys() == PEERS["verl"].keys()


def flat(values: list[list[float]]) -> Tensor:
    mask = torch.tensor(BATCH["mask"], dtype=torch.bool)
    return torch.tensor(values, dtype=torch.float64)[mask]


def ours(row: Row, *, with_reference: bool) -> tuple[float, Tensor]:
    """(loss, gradient on the padded grid) of the shared batch."""
    mask = torch.tensor(BATCH["mask"], dtype=torch.bool)
    sequence = mask.nonzero()[:, 0]
    logprobs = flat(BATCH["logprobs"]).requires_grad_()
    advantages = torch.tensor(BATCH["advantages"], dtype=torch.float64)[sequence]
    tokens = Tokens(logprobs, flat(BATCH["old"]), advantages, sequence)
    of = Denominators(len(mask), int(mask.sum()), BATCH["limit"])
    reference = flat(BATCH["reference"]) if with_reference else None
    loss, _ = policy_loss(row, tokens, flat(BATCH["old"]), of, reference)
    loss.backward()
    grid = torch.zeros(mask.shape, dtype=torch.float64)
    assert logprobs.grad is not None
    grid[mask] = logprobs.grad
    return float(loss.detach()), grid


AS_TRL = {
    "grpo": (Row("ppo_clip", "sequence_mean", Clip(), kl=0.04), True),
    "dr_grpo": (Row("ppo_clip", "constant", Clip()), False),
    "dapo": (Row("ppo_clip", "token_mean", Clip(0.2, 0.28)), False),
    "gspo": (Row("gspo", "sequence_mean", Clip(0.05, 0.06)), False),
    "cispo": (Row("cispo", "token_mean", Clip(1.0, 0.5)), False),  # TRL's ε_high is the cap itself: 1.5
}


@pytest.mark.parametrize("name", AS_TRL)
def test_loss_and_gradient_are_those_of_trls_own_code(name: str) -> None:
    row, with_reference = AS_TRL[name]
    loss, gradient = ours(row, with_reference=with_reference)
    theirs = TRL["rows"][name]
    assert loss == pytest.approx(theirs["loss"], rel=1e-6)
    # TRL's gspo differentiates the sequence's ratio, ours each token's with the ratio held: the same sum, and with an
    # advantage per sequence the same gradient, token by token.
    torch.testing.assert_close(gradient, torch.tensor(theirs["gradient"], dtype=torch.float64), rtol=1e-5, atol=1e-9)


def test_trls_kl_as_it_ships_is_the_named_difference() -> None:
    row, with_reference = AS_TRL["grpo"]
    theirs = TRL["rows"]["grpo, KL as TRL ships it"]
    assert ours(row, with_reference=with_reference)[0] != pytest.approx(theirs["loss"], rel=1e-3)
    assert "multiplied by r" in PEERS["trl"]["grpo"].differences["kl"]  # type: ignore[union-attr]


@pytest.mark.real
def test_the_stored_values_are_what_the_installed_trl_says(tmp_path: Path) -> None:
    if not PYTHON.exists():
        pytest.skip("no .venv-perf (make perf-env): the stored values of TRL 1.16 stand for it")
    made = tmp_path / "trl.json"
    done = subprocess.run([PYTHON, HERE / "make_trl.py", made], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    for name, row in json.loads(made.read_text())["rows"].items():
        assert row["loss"] == pytest.approx(TRL["rows"][name]["loss"], rel=1e-9)


@pytest.mark.parametrize(("epsilon", "whose"), [(1e-4, "TRL"), (1e-6, "verl")])
def test_group_norm_with_the_epsilons_of_the_others(epsilon: float, whose: str) -> None:
    """Both divide by the std with Bessel's correction; ε differs, and is `epsilon` here."""
    del whose
    for start in (0, 3):
        x = torch.tensor(BATCH["rewards"][start : start + 3], dtype=torch.float64)
        expected = (x - x.mean()) / (x.std() + epsilon)
        assert group_advantages("group_norm", x.tolist(), epsilon) == pytest.approx(expected.tolist())


# verl's definitions, on padded grids as its core_algos has them: (loss per token) then one of its loss_agg_modes.


def verl_vanilla(new: Tensor, old: Tensor, a: Tensor, mask: Tensor, *, low: float, high: float, dual: float) -> Tensor:
    del mask
    ratio = (new - old).clamp(-20, 20).exp()
    upper = torch.maximum(-a * ratio, -a * ratio.clamp(1 - low, 1 + high))
    return torch.where(a < 0, torch.minimum(-a * dual, upper), upper)


def verl_gspo(new: Tensor, old: Tensor, a: Tensor, mask: Tensor, *, low: float, high: float, dual: float) -> Tensor:
    del dual
    mean = ((new - old) * mask).sum(-1) / mask.sum(-1).clamp(min=1)
    ratio = (new - new.detach() + mean.detach()[:, None]).clamp(max=10).exp()
    return torch.maximum(-a * ratio, -a * ratio.clamp(1 - low, 1 + high))


def verl_cispo(new: Tensor, old: Tensor, a: Tensor, mask: Tensor, *, low: float, high: float, dual: float) -> Tensor:
    del mask, dual
    return -a * (new - old).clamp(-20, 20).exp().clamp(1 - low, 1 + high).detach() * new


def verl_aggregate(mode: str, grid: Tensor, mask: Tensor, limit: int) -> Tensor:
    if mode == "token-mean":
        return (grid * mask).sum() / mask.sum()
    if mode == "seq-mean-token-mean":
        return ((grid * mask).sum(-1) / (mask.sum(-1) + 1e-8)).mean()
    total = (grid * mask).sum(-1).mean()
    return total if mode == "seq-mean-token-sum" else total / limit


NEVER = 1e9  # a dual clip that never binds
AS_VERL: dict[str, tuple[Callable[..., Tensor], str, dict[str, float], Row]] = {
    "grpo": (verl_vanilla, "seq-mean-token-mean", {"low": 0.2, "high": 0.2}, Row("ppo_clip", "sequence_mean")),
    "dr_grpo": (verl_vanilla, "seq-mean-token-sum-norm", {"low": 0.2, "high": 0.2}, Row("ppo_clip", "constant")),
    "dapo": (
        verl_vanilla,
        "token-mean",
        {"low": 0.2, "high": 0.28},
        Row("ppo_clip", "token_mean", Clip(0.2, 0.28)),
    ),
    "rloo": (verl_vanilla, "seq-mean-token-sum", {"low": 0.2, "high": 0.2}, Row("ppo_clip", "sequence_sum")),
    "gspo": (
        verl_gspo,
        "seq-mean-token-mean",
        {"low": 0.05, "high": 0.06},
        Row("gspo", "sequence_mean", Clip(0.05, 0.06)),
    ),
    "cispo": (verl_cispo, "token-mean", {"low": 0.2, "high": 0.2}, Row("cispo", "token_mean", Clip(0.2, 0.2))),
    "dual clip": (
        verl_vanilla,
        "token-mean",
        {"low": 0.2, "high": 0.2, "dual": 1.5},
        Row("ppo_clip", "token_mean", Clip(dual=1.5)),
    ),
}


@pytest.mark.parametrize("name", AS_VERL)
def test_loss_and_gradient_are_those_of_verls_definitions(name: str) -> None:
    per_token, mode, constants, row = AS_VERL[name]
    new = torch.tensor(BATCH["logprobs"], dtype=torch.float64, requires_grad=True)
    old = torch.tensor(BATCH["old"], dtype=torch.float64)
    mask = torch.tensor(BATCH["mask"])
    advantages = torch.tensor(BATCH["advantages"], dtype=torch.float64)[:, None].expand_as(new)
    theirs = verl_aggregate(
        mode, per_token(new, old, advantages, mask, **{"dual": NEVER, **constants}), mask, BATCH["limit"]
    )
    theirs.backward()
    loss, gradient = ours(row, with_reference=False)
    assert loss == pytest.approx(float(theirs.detach()), rel=1e-6)
    assert new.grad is not None
    torch.testing.assert_close(gradient, new.grad * mask, rtol=1e-6, atol=1e-9)


def test_verls_dual_clip_is_the_named_difference_of_its_grpo() -> None:
    """A ratio of 4 with a negative advantage: 4 here, 3 there."""
    t = Tokens(torch.tensor([math.log(4.0)]), torch.zeros(1), torch.tensor([-1.0]), torch.zeros(1, dtype=torch.long))
    of = Denominators(1, 1, 1)
    assert float(policy_loss(Row("ppo_clip", "token_mean"), t, t.old, of)[0]) == pytest.approx(4.0)
    assert float(policy_loss(Row("ppo_clip", "token_mean", Clip(dual=3.0)), t, t.old, of)[0]) == pytest.approx(3.0)
    assert "c = 3" in PEERS["verl"]["grpo"].differences["objective"]  # type: ignore[union-attr]


def test_verls_whitening_is_ours() -> None:
    """masked_whiten over [B, T] with the sequence's value at each of its tokens, unbiased variance, ε = 1e-8."""
    mask = torch.tensor(BATCH["mask"], dtype=torch.float64)
    values = [0.4, -0.2, -0.2, 1 / 3, 1 / 3, -2 / 3]
    grid = torch.tensor(values, dtype=torch.float64)[:, None] * mask
    mean = grid.sum() / mask.sum()
    variance = (((grid - mean) * mask) ** 2).sum() / (mask.sum() - 1)
    expected = ((grid - mean) * torch.rsqrt(variance + 1e-8))[:, 0]
    assert whitened(values, mask.sum(-1).int().tolist()) == pytest.approx(expected.tolist())


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("k1", [0.5, -0.2]),
        ("k2", [0.125, 0.02]),
        ("k3", [math.exp(-0.5) + 0.5 - 1, math.exp(0.2) - 0.2 - 1]),
    ],
)
def test_kl_estimates_by_hand(kind: str, expected: list[float]) -> None:
    reference = torch.tensor([-1.0, -2.0])
    logprobs = reference + torch.tensor([0.5, -0.2])
    assert kl_estimate(kind, logprobs, reference).tolist() == pytest.approx(expected, rel=1e-5)
    assert kl_estimate(kind, reference, reference).tolist() == [0.0, 0.0]


def test_correction_weights_by_hand() -> None:
    old, sampled = torch.zeros(4), -torch.tensor([4.0, 1.0, 0.25, 1.0]).log()
    sequence = torch.tensor([0, 0, 1, 1])
    assert importance(old, sampled, sequence, "token").tolist() == pytest.approx([4, 1, 0.25, 1])
    assert importance(old, sampled, sequence, "sequence").tolist() == pytest.approx([4, 4, 0.25, 0.25])
    assert importance(old, sampled, sequence, "sequence_mean").tolist() == pytest.approx([2, 2, 0.5, 0.5])
    weight, sums = correct(Correction("truncate", high=2.0), old, sampled, sequence)
    assert weight.tolist() == pytest.approx([2, 1, 0.25, 1])
    assert sums["corrected"] == 1
    weight, sums = correct(Correction("mask", low=0.5, high=2.0), old, sampled, sequence)
    assert weight.tolist() == pytest.approx([0, 1, 0, 1])
    assert sums["corrected"] == 2
    assert correct(Correction(), old, sampled, sequence)[0].tolist() == [1, 1, 1, 1]


def test_truncated_weights_undo_a_stale_sampler_where_they_are_not_truncated() -> None:
    """E_μ[w·f] = E_π[f]: the corrected gradient over all tokens of a vocabulary, weighted by μ, is the exact one."""
    policy = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    sampler = torch.tensor([0.3, 0.3, 0.4], dtype=torch.float64)
    a = torch.tensor([1.0, -0.5, 0.2], dtype=torch.float64)
    logprobs = policy.log().requires_grad_()
    tokens = Tokens(logprobs, policy.log(), a * sampler, torch.arange(3))  # each token stands with its chance under μ
    row = Row("reinforce", "sequence_sum", correction=Correction("truncate", high=2.0))
    policy_loss(row, tokens, sampler.log(), Denominators(1, 3))[0].backward()
    assert logprobs.grad is not None
    assert logprobs.grad.tolist() == pytest.approx((-a * policy).tolist())
