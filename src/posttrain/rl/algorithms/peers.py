"""What other libraries call by the same name: TRL 1.16 and verl (commit 018f23b). No torch here.

Read from their sources: trl/trainer/grpo_trainer.py, grpo_config.py and rloo_trainer.py; verl/trainer/ppo/core_algos.py
and its default configs. The golden tests hold our numbers against both (tests/golden).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from posttrain.rl.algorithms.presets import PRESETS


@dataclass(frozen=True, slots=True)
class Peer:
    """How to ask the library for it, and what is then different: key → (ours, theirs)."""

    ask: str
    differences: Mapping[str, str]


_STD = "ε = 1e-4 is added to the std (here 1e-6)"
_DUAL = "negative advantages are clipped at c = 3 too (dual clip; here off: dual_clip: 3 turns it on)"
_CLAMP = "log r is clamped to ±20 (verl) before the exponential (here not)"
_HOST = "denominators are those of a device's micro-batches unless the trainer passes global ones (here always global)"

TRL: dict[str, Peer | None] = {
    "reinforce": None,
    "reinforce_baseline": Peer(
        'GRPOConfig(loss_type="grpo", scale_rewards="none", beta=0.0)',
        {"objective": "the clipped objective; the same gradient as −A·∇logπ with one update per batch"},
    ),
    "rloo": Peer(
        "RLOOConfig(), RLOOTrainer",
        {
            "objective": "one ratio per sequence, exp(Σ log r), clipped at ±0.2; the same gradient with one update",
            "advantage": "normalize_advantages is off by default, as here",
            "kl": "beta 0.05 in the reward (here 0: set kl and kl_in)",
        },
    ),
    "grpo": Peer(
        'GRPOConfig(loss_type="grpo", beta=0.04)',
        {
            "advantage": _STD,
            "kl": "beta is 0.0 by default (here the paper's 0.04), and the term is multiplied by r "
            "(use_bias_correction_kl; the same value with one update per batch, another gradient)",
            "aggregation": "loss_type is 'dapo' by default: GRPOTrainer alone is not this row",
            "undecided": "a rollout without reward gets advantage 0 and stays in the denominators (here it leaves)",
        },
    ),
    "dr_grpo": Peer(
        'GRPOConfig(loss_type="dr_grpo", scale_rewards="none")',
        {"advantage": "scale_rewards is 'group' by default: loss_type alone still divides by the std"},
    ),
    "dapo": Peer(
        'GRPOConfig(loss_type="dapo", epsilon_high=0.28)',
        {
            "advantage": _STD,
            "clip": "epsilon_high equals epsilon by default (no clip-higher)",
            "dynamic_sampling": "there is none",
            "overlong_buffer": "get_soft_overlong_punishment is a reward function to be added by hand",
        },
    ),
    "gspo": Peer(
        'GRPOConfig(loss_type="grpo", importance_sampling_level="sequence", epsilon=3e-4, epsilon_high=4e-4)',
        {"advantage": _STD, "clip": "0.2 by default (here the paper's 3e-4 and 4e-4)"},
    ),
    "cispo": Peer(
        'GRPOConfig(loss_type="cispo", epsilon_high=5.0)',
        {"advantage": _STD, "clip": "epsilon_high is the cap itself: 5.0 there is clip_high 4.0 here"},
    ),
    "reinforce++": None,
}

VERL: dict[str, Peer | None] = {
    "reinforce": None,
    "reinforce_baseline": Peer(
        "algorithm.adv_estimator=grpo algorithm.norm_adv_by_std_in_grpo=False actor.loss_agg_mode=seq-mean-token-mean",
        {"objective": f"the clipped objective; {_DUAL}"},
    ),
    "rloo": Peer(
        "algorithm.adv_estimator=rloo",
        {
            "objective": f"the clipped objective; {_DUAL}",
            "aggregation": "token-mean by default (here sequence_sum)",
        },
    ),
    "grpo": Peer(
        "algorithm.adv_estimator=grpo actor.loss_agg_mode=seq-mean-token-mean",
        {
            "objective": f"{_DUAL}; {_CLAMP}",
            "aggregation": "token-mean by default (here sequence_mean, as published)",
            "kl": "use_kl_loss is off by default, with 0.001 where on (here the paper's 0.04)",
        },
    ),
    "dr_grpo": Peer(
        "algorithm.adv_estimator=grpo algorithm.norm_adv_by_std_in_grpo=False "
        "actor.loss_agg_mode=seq-mean-token-sum-norm",
        {
            "objective": _DUAL,
            "aggregation": "L is the padded width of the batch unless loss_scale_factor is set: it drifts with the "
            "longest response (here max_tokens, fixed)",
        },
    ),
    "dapo": Peer(
        "recipe/dapo: adv_estimator=grpo clip_ratio_high=0.28 loss_agg_mode=token-mean filter_groups.enable=True "
        "overlong_buffer.enable=True",
        {"objective": _DUAL, "aggregation": _HOST},
    ),
    "gspo": Peer(
        "actor.policy_loss.loss_mode=gspo clip_ratio_low=3e-4 clip_ratio_high=4e-4",
        {"clip": "0.2 by default", "objective": "log s is clamped to at most 10 (here not)"},
    ),
    "cispo": Peer(
        "actor.policy_loss.loss_mode=cispo",
        {"clip": "to [1 − clip_ratio_low, 1 + clip_ratio_high] = [0.8, 1.2] (here a cap of 5 and no lower bound)"},
    ),
    "reinforce++": Peer(
        "algorithm.adv_estimator=reinforce_plus_plus_baseline",
        {
            "objective": _DUAL,
            "advantage": "adv_estimator=reinforce_plus_plus is the variant without a group's baseline",
        },
    ),
}
PEERS: dict[str, dict[str, Peer | None]] = {"trl": TRL, "verl": VERL}
assert all(table.keys() == PRESETS.keys() for table in PEERS.values())
