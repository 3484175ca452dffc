"""Plain words for what the metrics of an RL run say, and what to try."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
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


@dataclass(frozen=True, slots=True)
class Run:
    """The rows of a run's steps, those without a decided reward left out."""

    steps: Sequence[Mapping[str, Any]]

    def early(self, name: str) -> float:
        """The mean of a metric over the first quarter of the steps; nan where none of them has it."""
        return self._mean(name, self.steps[: self._quarter])

    def late(self, name: str) -> float:
        """The mean over the last quarter."""
        return self._mean(name, self.steps[-self._quarter :])

    @property
    def _quarter(self) -> int:
        return max(1, len(self.steps) // 4)

    @staticmethod
    def _mean(name: str, rows: Sequence[Mapping[str, Any]]) -> float:
        values = [r[name] for r in rows if r.get(name) is not None]
        return float(np.mean(values)) if values else float("nan")


def diagnose(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Notes on a finished (or running) run's metric rows; an empty list when nothing looks wrong."""
    run = Run([r for r in rows if r.get("reward") is not None])
    if not run.steps:
        return ["no rollout had a decided reward: every verdict was undecided. Check the grader and the gold answers."]
    validated = [r["val_accuracy"] for r in rows if "val_accuracy" in r]
    return [*_of_signal(run), *_of_rollouts(run), *_of_distance(run), *_of_validation(run, validated)]


def _of_signal(run: Run) -> Iterator[str]:
    """Groups whose rewards are all equal teach nothing."""
    share = float(np.mean([r["effective_groups"] for r in run.steps]))
    if all(r["effective_groups"] == 0 for r in run.steps):
        yield _no_signal(run.late("accuracy"), len(run.steps))
    elif share < 0.2:
        accuracy = run.late("accuracy")
        yield (
            f"only {share:.0%} of the groups carried a signal (the others were all right or all wrong): most of the "
            f"compute taught nothing. Accuracy of the rollouts is {accuracy:.1%}; choose "
            f"{'easier' if accuracy < 0.5 else 'harder'} problems or larger groups."
        )


def _of_rollouts(run: Run) -> Iterator[str]:
    """What the policy says: cut short, unreadable, all alike, ever shorter, all right."""
    if run.late("truncated") > 0.5:
        yield (
            f"{run.late('truncated'):.0%} of the late rollouts were cut at max_tokens: raise it, or the model never "
            "stops."
        )
    if run.late("unparsed") > 0.5:
        yield (
            f"{run.late('unparsed'):.0%} of the late rollouts hold no answer the grader can find: teach the format "
            "first (more SFT), or reward it (reward.format)."
        )
    if run.late("entropy") < 0.1 * run.early("entropy"):
        yield (
            f"entropy fell from {run.early('entropy'):.2f} to {run.late('entropy'):.2f} nats: the policy no longer "
            "explores. Lower the rate, raise clip_high, or stop earlier."
        )
    before, after = run.early("length_mean"), run.late("length_mean")
    if np.isfinite(before) and after < 0.4 * before:
        yield (
            f"responses shrank from {before:.0f} to {after:.0f} tokens: with aggregation sequence_mean short ones "
            "weigh more per token, and a guess is shorter than a solution. Try aggregation token_mean or constant, and "
            "read the rollouts."
        )
    if run.late("solved_groups") > 0.8:
        yield (
            f"{run.late('solved_groups'):.0%} of the late groups were solved by every rollout: these problems have "
            "nothing left to teach. Use harder ones, draw: difficulty, or dynamic_sampling."
        )
    if run.late("undecided") > 0.01:
        yield (
            f"{run.late('undecided'):.1%} of the late verdicts were undecided and left the loss: look at the grader's "
            "reasons in rollouts/*/verdicts.parquet."
        )


def _of_distance(run: Run) -> Iterator[str]:
    """The policy from what it was when it sampled, and the sampler from the policy."""
    if run.late("clip_fraction") > 0.3:
        yield (
            f"{run.late('clip_fraction'):.0%} of the late tokens were clipped: the policy moves too far within a "
            "batch. Lower the rate, updates or passes."
        )
    if run.late("ess") < 0.5:
        yield (
            f"the effective sample size fell to {run.late('ess'):.0%} of the tokens: the sampler is far from the "
            "policy. Lower staleness, or check that its weights are updated (`posttrain parity`)."
        )


def _of_validation(run: Run, validated: Sequence[float]) -> Iterator[str]:
    """Reward up, and the problems that are not trained on no better."""
    before, after = run.early("reward"), run.late("reward")
    if len(validated) >= 2 and after > 1.2 * before + 0.05 and validated[-1] <= validated[0]:
        yield (
            f"reward rose ({before:.2f} → {after:.2f}) while validation accuracy did not "
            f"({validated[0]:.1%} → {validated[-1]:.1%}): the reward is being gamed, or the problems memorised."
        )


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
