"""What a run checks of itself: before the first update, and when it ends. The report shows every line, red ones too."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from posttrain.data.contamination import tokens as words
from posttrain.engines.base import Engine, Prompt, Sampling
from posttrain.errors import TrainingError
from posttrain.models import token_stats
from posttrain.records import Problem
from posttrain.rl.config import RLConfig
from posttrain.rl.rollouts import Rollout
from posttrain.training.aggregation import Denominators, token_weights
from posttrain.training.batches import micro_batches
from posttrain.training.update import autocast

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from posttrain.engines.vllm.weights import Proof
    from posttrain.stage import Workspace

PARITY_MAX = 1e-4  # float32: largest |logπ − logμ| of a token
PARITY_MEAN_BF16 = 1e-2  # bfloat16: mean |logπ − logμ|
GRADIENT_RTOL = 1e-5  # relative difference of whole-gradient norm between two splits, float32
PROBE = 64  # rollouts looked at
UNDECIDED_MAX = 0.01  # share of verdicts
EFFECTIVE_MIN = 0.1  # share of groups that must have carried a signal over the run
AGAIN = 8  # prompts sampled twice


def certify_start(
    config: RLConfig, rollouts: Sequence[Rollout], policy: PreTrainedModel, pad_id: int, work: Workspace
) -> None:
    """Writes the first certificate lines. TrainingError before step 1 where sampler and trainer disagree."""
    probe = list(rollouts[:PROBE])
    if not probe:
        return
    if config.top_p < 1:  # log-probabilities of a truncated distribution: nothing to compare
        certify_gradient(config, probe, policy, pad_id, work)
        return
    worst, mean, kl = parity(config, probe, policy, pad_id)
    bf16 = config.dtype == "bfloat16"
    ok = mean <= PARITY_MEAN_BF16 if bf16 else worst <= PARITY_MAX
    tolerance = f"mean ≤ {PARITY_MEAN_BF16:g} (bfloat16)" if bf16 else f"max ≤ {PARITY_MAX:g} (float32)"
    work.certify("log-probability parity", ok, max=worst, mean=mean, kl=kl, tolerance=tolerance, rollouts=len(probe))
    if not ok:
        raise TrainingError(
            f"sampler and trainer disagree before the first update: |Δ log-probability| is at most {worst:.3g}, on "
            f"average {mean:.3g}, over {len(probe)} rollouts; allowed is {tolerance}. Training on such samples would "
            "not be on-policy. Check temperature, dtype and that both read the same weights (`posttrain parity`)."
        )
    certify_gradient(config, probe, policy, pad_id, work)


def certify_gradient(
    config: RLConfig, probe: Sequence[Rollout], policy: PreTrainedModel, pad_id: int, work: Workspace
) -> None:
    """The line on splits."""
    difference = gradient_difference(config, probe, policy, pad_id)
    work.certify(
        "gradient is split-invariant", difference <= GRADIENT_RTOL, relative=difference, tolerance=GRADIENT_RTOL
    )


def parity(
    config: RLConfig, rollouts: Sequence[Rollout], policy: PreTrainedModel, pad_id: int
) -> tuple[float, float, float]:
    """Over response tokens: (max, mean) of |logπ − logμ|, trainer's forward pass against what the sampler recorded, and
    the mean of e^d − 1 − d with d = logπ − logμ, an estimate of KL(μ‖π) in nats (Schulman's k3)."""
    worst = total = divergence = 0.0
    tokens = 0
    with torch.no_grad():
        for micro in micro_batches(rollouts, config.token_budget, pad_id, str(policy.device)):
            with autocast(config.dtype, str(policy.device)):
                stats = token_stats(policy, micro.ids, micro.row, micro.col, temperature=config.temperature)
            signed = stats.logprobs - micro.gather([r.sampled for r in rollouts])
            difference = signed.abs()
            worst = max(worst, float(difference.max()))
            total += float(difference.sum())
            divergence += float((signed.double().expm1() - signed.double()).sum())
            tokens += difference.shape[0]
    if math.isnan(total):  # which `max` does not see
        worst = math.inf
    return worst, total / tokens, divergence / tokens


def gradient_difference(config: RLConfig, rollouts: Sequence[Rollout], policy: PreTrainedModel, pad_id: int) -> float:
    """‖g_whole − g_split‖ / ‖g_whole‖ of a plain policy gradient, all rollouts at once against one at a time."""

    def gradient(budget: int) -> list[torch.Tensor]:
        micros = micro_batches(rollouts, budget, pad_id, str(policy.device))
        of = Denominators(len(rollouts), sum(int(m.row.shape[0]) for m in micros), config.max_tokens)
        for micro in micros:
            stats = token_stats(policy, micro.ids, micro.row, micro.col, temperature=config.temperature)
            # Alternating signs stand in for advantages, which may all be zero in the first batch.
            sign = torch.tensor([1.0 if m % 2 else -1.0 for m in micro.members], device=micro.ids.device)[micro.row]
            loss = (-stats.logprobs * sign * token_weights(config.aggregation, micro.row, of)).sum()
            loss.backward()  # type: ignore[no-untyped-call]
        found = [p.grad.clone() for p in policy.parameters() if p.grad is not None]
        policy.zero_grad(set_to_none=True)
        return found

    whole, split = gradient(1 << 30), gradient(1)
    norm = torch.stack([g.norm() for g in whole]).norm()
    apart = torch.stack([(a - b).norm() for a, b in zip(whole, split, strict=True)]).norm()
    return float(apart / norm) if float(norm) > 0 else float(apart)


def certify_determinism(engine: Engine, prompts: Sequence[Prompt], sampling: Sampling, work: Workspace) -> None:
    """The same seeds twice: is every token the same?"""
    first, second = (
        {(c.key, c.index): c.token_ids for c in engine.generate(prompts[:AGAIN], sampling)} for _ in range(2)
    )
    differ = sum(first[key] != second.get(key) for key in first)
    work.certify("sampling is deterministic", differ == 0, samples=len(first), differ=differ)


def certify_served(engine: Engine, work: Workspace) -> None:
    """The line on the canaries of an engine outside of this process; one inside reads the trainer's own weights."""
    proofs: Sequence[Proof] = getattr(engine, "proofs", ())
    held = [proof for proof in proofs if proof.ok]
    if not proofs:
        return
    work.certify(
        "the sampler serves the trained weights",
        proofs[-1].ok,
        updates=len({proof.version for proof in held if proof.version}),
        by=dict(Counter(proof.how for proof in held)),
        failed=len(proofs) - len(held),
        max=max((proof.max for proof in held), default=proofs[-1].max),
        mean=max((proof.mean for proof in held), default=proofs[-1].mean),
        moved=max(proof.moved for proof in proofs),
        tolerance=proofs[-1].tolerance,
    )


def certify_selection(train: Sequence[Problem], validation: Iterable[Problem], work: Workspace) -> None:
    """No problem that is validated on is trained on: neither its id nor, but for case and punctuation, its text."""
    ids, texts = {p.id for p in train}, {tuple(words(p.question)) for p in train}
    checked = list(validation)
    shared = [p.id for p in checked if p.id in ids or tuple(words(p.question)) in texts]
    work.certify(
        "validation and test are not trained on", not shared, checked=len(checked), shared=len(shared), ids=shared[:5]
    )


def certify_end(config: RLConfig, rows: Sequence[dict[str, Any]], work: Workspace) -> None:
    """What the run's own metrics say: the grader, the signal, the ratio, the distance from the sampler."""
    steps = [r for r in rows if "rollouts" in r]
    rollouts = sum(r["rollouts"] for r in steps)
    undecided = sum(r["undecided"] * r["rollouts"] for r in steps) / max(rollouts, 1)
    work.certify(
        "the grader decides", undecided <= UNDECIDED_MAX, undecided=undecided, tolerance=UNDECIDED_MAX, n=rollouts
    )
    groups = sum(r["groups"] for r in steps)
    effective = sum(r["effective_groups"] * r["groups"] for r in steps) / max(groups, 1)
    work.certify(
        "groups carry a signal", effective >= EFFECTIVE_MIN, share=effective, tolerance=EFFECTIVE_MIN, groups=groups
    )
    trained = [r for r in steps if r.get("updates")]
    if config.updates * config.passes == 1 and trained:
        off = max(r["ratio_off"] for r in trained)
        work.certify("the ratio is 1 on-policy", off == 0.0, largest=off)
    if config.staleness == 0 and config.top_p == 1 and trained:
        # Of a whole run, not of a probe: weights that were not updated in the sampler show here.
        worst = max(r["mismatch"] for r in trained)
        limit = PARITY_MEAN_BF16 if config.dtype == "bfloat16" else PARITY_MAX
        work.certify("the sampler kept up with the weights", worst <= limit, mean_of_worst_step=worst, tolerance=limit)
