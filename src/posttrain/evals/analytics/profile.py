"""All measures of one checkpoint's answers, and their course over checkpoints.

The unit is the problem, as everywhere: what is measured of samples is averaged over a problem's samples first, and
intervals are over problems. Axis letters: n problems, C checkpoints.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from posttrain.evals.analytics.calibration import calibrate
from posttrain.evals.analytics.language import foreign_share
from posttrain.evals.analytics.markers import KINDS, count_marks
from posttrain.evals.analytics.repetition import loop_length, repeated_share
from posttrain.evals.analytics.stability import agreement
from posttrain.evals.analytics.stated import stated_answers
from posttrain.evals.metrics import group_by_item
from posttrain.records import Sample
from posttrain.stats import t_interval

# measure → what it says, for axes and legends
MEASURES: dict[str, str] = {
    "tokens": "tokens of an answer",
    "tokens_correct": "tokens of a correct answer",
    "tokens_wrong": "tokens of a wrong answer",
    "characters": "characters of an answer",
    "check": "words of checking in an answer (wait, let me verify …)",
    "correct": "words of backtracking in an answer (actually, that is wrong …)",
    "alternative": "words of another way in an answer (alternatively …)",
    "reflects": "share of answers with any of these words",
    "changes_answer": "share of answers that state one answer and end with another",
    "repetition": "share of 4-grams that stood in the answer before",
    "loops": "share of answers that end in a loop",
    "mixes_scripts": "share of answers with at least 1 % of letters in a script that the question doesn't use",
    "truncated": "share of answers cut at the token limit",
    "agreement": "share of a problem's samples that give its commonest answer",
    "distinct_answers": "different answers to a problem",
    "calibration_error": "distance between agreement and how often the majority is right",
}
SHARES = frozenset(name for name, means in MEASURES.items() if means.startswith("share")) | {"calibration_error"}
FOREIGN = 0.01  # of an answer's letters: a name or a sign in another script is no mixing


@dataclass(frozen=True, slots=True)
class Series:
    """One measure at C checkpoints, with its interval over problems; None where it can't be told."""

    value: tuple[float | None, ...]
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]


Measured = tuple[float, float, float]  # value, low, high


def profile(samples: Sequence[Sample], confidence: float = 0.95) -> dict[str, Measured]:
    """measure → (value, low, high) of one checkpoint's answers to one problem set; measures that don't apply are
    absent.

    Correct and wrong need verdicts, agreement several samples of each problem. Calibration has no interval of its own:
    low and high are its value.
    """
    groups = group_by_item(samples)
    per_item: dict[str, list[float]] = {}
    for group in groups.values():
        measured = [_of_sample(sample) for sample in group]
        for name in dict.fromkeys(key for row in measured for key in row):
            values = [row[name] for row in measured if name in row]
            per_item.setdefault(name, []).append(sum(values) / len(values))
        if len(group) > 1 and all(s.verdict is not None for s in group):
            agreed = agreement([_answer(s) for s in group])
            per_item.setdefault("agreement", []).append(agreed.share)
            per_item.setdefault("distinct_answers", []).append(float(agreed.distinct))
    found = {name: _mean(values, confidence) for name, values in per_item.items()}
    if "agreement" in per_item:
        right = [agreement([_answer(s) for s in group]).majority == _RIGHT for group in groups.values()]
        error = calibrate(per_item["agreement"], right).error
        found["calibration_error"] = (error, error, error)
    return {name: found[name] for name in MEASURES if name in found}


_RIGHT = ("gold",)  # all correct answers are one answer: the grader calls them equal to the gold


def _answer(sample: Sample) -> Hashable | None:
    assert sample.verdict is not None
    if sample.verdict.correct:
        return _RIGHT
    return (sample.verdict.extracted,) if sample.verdict.parsed else None


def _of_sample(sample: Sample) -> dict[str, float]:
    text = sample.response
    marks = count_marks(text)
    stated = stated_answers(text)
    row = {
        "characters": float(len(text)),
        **{kind: float(marks[kind]) for kind in KINDS},
        "reflects": float(any(marks.values())),
        "changes_answer": float(len(stated) > 1 and stated[0] != stated[-1]),
        "repetition": repeated_share(text),
        "loops": float(loop_length(text) > 0),
        "mixes_scripts": float(foreign_share(text, sample.question) >= FOREIGN),
        "truncated": float(sample.truncated),
    }
    if sample.token_ids is not None:
        row["tokens"] = float(len(sample.token_ids))
        if sample.verdict is not None and sample.verdict.correct is not None:
            row["tokens_correct" if sample.verdict.correct else "tokens_wrong"] = row["tokens"]
    return row


def _mean(values: Sequence[float], confidence: float) -> Measured:
    low, high = t_interval(values, confidence)
    return float(np.mean(values)), low, high


def series_over_steps(profiles: Sequence[Mapping[str, Measured]]) -> dict[str, Series]:
    """measure → its course over the profiles of C checkpoints, in their order. Measures that none of them has are
    absent."""
    names = [name for name in MEASURES if any(name in p for p in profiles)]

    def column(name: str, part: int) -> tuple[float | None, ...]:
        return tuple(p[name][part] if name in p else None for p in profiles)

    return {name: Series(column(name, 0), column(name, 1), column(name, 2)) for name in names}


def as_json(steps: Sequence[int], profiles: Sequence[Mapping[str, Measured]]) -> dict[str, Any]:
    """What analytics.json says of one problem set: the steps, and each measure's course with what it means."""
    return {
        "steps": list(steps),
        "series": {
            name: {
                "means": MEASURES[name],
                "value": list(series.value),
                "low": list(series.low),
                "high": list(series.high),
            }
            for name, series in series_over_steps(profiles).items()
        },
    }
