"""The table: an algorithm by name is a set of config keys, with the paper it is from. No torch here.

A key that the user sets wins over the preset's; `overridden` says which did.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Preset:
    """settings: keys of the `rl` stage. note: what of the paper is not in them."""

    name: str
    title: str
    paper: str
    settings: Mapping[str, Any]
    note: str = ""


def _row(
    advantage: str,
    objective: str,
    aggregation: str,
    *,
    kl: float = 0.0,
    clip: tuple[float, float] = (0.2, 0.2),
    **more: Any,
) -> dict[str, Any]:
    low, high = clip
    keys = {"advantage": advantage, "objective": objective, "aggregation": aggregation}
    return {**keys, "clip_low": low, "clip_high": high, "kl": kl, **more}


_TABLE = (
    Preset(
        "reinforce",
        "REINFORCE",
        "Williams 1992",
        _row("none", "reinforce", "sequence_sum"),
        "No baseline: with rewards of 0 and 1 only right answers move the weights.",
    ),
    Preset(
        "reinforce_baseline",
        "REINFORCE with the group's mean as baseline",
        "Williams 1992; the group as baseline as in arXiv 2402.03300",
        _row("group_mean", "reinforce", "sequence_mean"),
    ),
    Preset(
        "rloo",
        "REINFORCE leave-one-out",
        "arXiv 2402.14740, equation 8",
        _row("leave_one_out", "reinforce", "sequence_sum"),
        "The paper has the KL in the reward: kl: 0.03, kl_in: reward.",
    ),
    Preset(
        "grpo",
        "Group relative policy optimization",
        "arXiv 2402.03300, equation 3; β from section 4.2",
        _row("group_norm", "ppo_clip", "sequence_mean", kl=0.04, kl_estimator="k3", epsilon=1e-6),
    ),
    Preset(
        "dr_grpo",
        "GRPO done right: no division by std or length",
        "arXiv 2503.20783, section 3.2",
        _row("group_mean", "ppo_clip", "constant"),
        "L of `constant` is max_tokens, the same for the whole run.",
    ),
    Preset(
        "dapo",
        "Clip-higher, token mean, dynamic sampling, overlong shaping",
        "arXiv 2503.14476, equation 8 and section 4.1",
        _row(
            "group_norm",
            "ppo_clip",
            "token_mean",
            clip=(0.2, 0.28),
            epsilon=1e-6,
            dynamic_sampling={"max_rounds": 4},
            overlong_buffer=0.2,
        ),
        "The paper samples until the batch is full; here max_rounds ends it, and the metrics say how full it was.",
    ),
    Preset(
        "gspo",
        "Group sequence policy optimization",
        "arXiv 2507.18071, section 5.1",
        _row("group_norm", "gspo", "sequence_mean", clip=(3e-4, 4e-4), epsilon=1e-6),
        "The paper takes four updates per batch: updates: 4. With one the ratio is 1 and nothing is clipped.",
    ),
    Preset(
        "cispo",
        "Clipped importance-sampling weights, every token keeps its gradient",
        "arXiv 2506.13585, equation 4",
        _row("group_norm", "cispo", "token_mean", clip=(1.0, 4.0), epsilon=1e-6),
        "The weight is capped at 1 + clip_high = 5 and has no lower bound (clip_low: 1).",
    ),
    Preset(
        "reinforce++",
        "REINFORCE++ with the group's mean as baseline",
        "arXiv 2501.03262, section 3 (the baseline variant)",
        _row("batch_norm", "ppo_clip", "token_mean", kl_estimator="k2"),
        "The paper adds a small k2 term: kl: 0.00001.",
    ),
)
PRESETS: dict[str, Preset] = {preset.name: preset for preset in _TABLE}


def with_preset(values: Mapping[str, Any]) -> dict[str, Any]:
    """The config's values, and what its `algorithm` says where a key was not given; an unknown name says nothing."""
    preset = PRESETS.get(str(values.get("algorithm")))
    return {**(preset.settings if preset else {}), **values}


def overridden(name: str, values: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """key → (the preset's, the one in `values`) wherever these differ."""
    wanted = PRESETS[name].settings
    return {key: (value, values[key]) for key, value in wanted.items() if values[key] != value}
