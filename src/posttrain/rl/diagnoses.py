"""Plain words for what the metrics of an RL run say, and what to try."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

SILENT = 20  # steps in a row without a signal that are worth a word while the run goes on


@dataclass(slots=True)
class Watch:
    """While a run goes on: says once, when it begins, that all rewards have been equal for many steps."""

    _rows: deque[Mapping[str, Any]] = field(default_factory=lambda: deque(maxlen=SILENT))
    _said: bool = False

    def look(self, row: Mapping[str, Any]) -> str | None:
        """A note, or None."""
        self._rows.append(row)
        silent = len(self._rows) == SILENT and all(r["effective_groups"] == 0 for r in self._rows)
        if not silent or self._said:
            self._said = self._said and silent
            return None
        self._said = True
        return _no_signal(float(np.mean([r["accuracy"] for r in self._rows])), SILENT)


def diagnose(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Notes on a finished (or running) run's metric rows; an empty list when nothing looks wrong."""
    steps = [r for r in rows if r.get("reward") is not None]
    if not steps:
        return ["no rollout had a decided reward: every verdict was undecided. Check the grader and the gold answers."]
    notes = []

    def late(name: str) -> float:
        values = [r[name] for r in steps[-max(1, len(steps) // 4) :] if r.get(name) is not None]
        return float(np.mean(values)) if values else float("nan")

    def early(name: str) -> float:
        values = [r[name] for r in steps[: max(1, len(steps) // 4)] if r.get(name) is not None]
        return float(np.mean(values)) if values else float("nan")

    silent = sum(r["effective_groups"] == 0 for r in steps)
    if silent == len(steps):
        notes.append(_no_signal(late("accuracy"), len(steps)))
    elif np.mean([r["effective_groups"] for r in steps]) < 0.2:
        share = np.mean([r["effective_groups"] for r in steps])
        notes.append(
            f"only {share:.0%} of the groups carried a signal (the others were all right or all wrong): most of the "
            f"compute taught nothing. Accuracy of the rollouts is {late('accuracy'):.1%}; choose "
            f"{'easier' if late('accuracy') < 0.5 else 'harder'} problems or larger groups."
        )
    if late("truncated") > 0.5:
        notes.append(
            f"{late('truncated'):.0%} of the late rollouts were cut at max_tokens: raise it, or the model never stops."
        )
    if late("unparsed") > 0.5:
        notes.append(
            f"{late('unparsed'):.0%} of the late rollouts hold no answer the grader can find: teach the format first "
            "(more SFT), or reward it (reward.format)."
        )
    if late("entropy") < 0.1 * early("entropy"):
        notes.append(
            f"entropy fell from {early('entropy'):.2f} to {late('entropy'):.2f} nats: the policy no longer explores. "
            "Lower the rate, raise clip_high, or stop earlier."
        )
    if np.isfinite(early("length_mean")) and late("length_mean") < 0.4 * early("length_mean"):
        notes.append(
            f"responses shrank from {early('length_mean'):.0f} to {late('length_mean'):.0f} tokens: with "
            "aggregation sequence_mean short ones weigh more per token, and a guess is shorter than a solution. Try "
            "aggregation token_mean or constant, and read the rollouts."
        )
    if late("solved_groups") > 0.8:
        notes.append(
            f"{late('solved_groups'):.0%} of the late groups were solved by every rollout: these problems have nothing "
            "left to teach. Use harder ones, draw: difficulty, or dynamic_sampling."
        )
    if late("undecided") > 0.01:
        notes.append(
            f"{late('undecided'):.1%} of the late verdicts were undecided and left the loss: look at the grader's "
            "reasons in rollouts/*/verdicts.parquet."
        )
    if late("clip_fraction") > 0.3:
        notes.append(
            f"{late('clip_fraction'):.0%} of the late tokens were clipped: the policy moves too far within a batch. "
            "Lower the rate, updates or passes."
        )
    if late("ess") < 0.5:
        notes.append(
            f"the effective sample size fell to {late('ess'):.0%} of the tokens: the sampler is far from the policy. "
            "Lower staleness, or check that its weights are updated (`posttrain parity`)."
        )
    validated = [r["val_accuracy"] for r in rows if "val_accuracy" in r]
    if len(validated) >= 2 and late("reward") > 1.2 * early("reward") + 0.05 and validated[-1] <= validated[0]:
        notes.append(
            f"reward rose ({early('reward'):.2f} → {late('reward'):.2f}) while validation accuracy did not "
            f"({validated[0]:.1%} → {validated[-1]:.1%}): the reward is being gamed, or the problems memorised."
        )
    return notes


def _no_signal(accuracy: float, steps: int) -> str:
    if accuracy < 0.01:
        return (
            f"no group of any of the {steps} steps carried a signal: every rollout was wrong, so every advantage was 0 "
            "and nothing could be learned. The problems are too hard for this model: start from a better SFT "
            "checkpoint, use easier problems, or larger groups."
        )
    if accuracy > 0.99:
        return f"no group of any of the {steps} steps carried a signal: every rollout was right. Use harder problems."
    return (
        f"no group of any of the {steps} steps carried a signal: within each group all rewards were equal. Check that "
        "temperature is above 0 and that the reward tells rollouts apart."
    )
