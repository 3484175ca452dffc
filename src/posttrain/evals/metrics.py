"""What a set of graded samples says: accuracy with its interval, and the rates without which it is never shown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posttrain.errors import DataError
from posttrain.records import Sample, Verdict
from posttrain.stats import estimate_accuracy, item_means, majority_score, pass_at_k


@dataclass(frozen=True)
class Judged:
    """Samples as arrays over n items (in the order of their first sample) and K samples each.

    correct, undecided: bool [n, K]; an undecided sample is not correct.
    """

    items: tuple[str, ...]
    correct: NDArray[np.bool_]
    undecided: NDArray[np.bool_]

    @property
    def samples_per_item(self) -> int:
        return int(self.correct.shape[1])

    @property
    def scores(self) -> NDArray[np.float64]:
        """Item means [n]."""
        return item_means(self.correct)

    @property
    def undecided_rate(self) -> float:
        return float(self.undecided.mean())


def verdict_of(sample: Sample) -> Verdict:
    """The sample's verdict. DataError when it was never graded."""
    if sample.verdict is None:
        raise DataError(f"sample {sample.key} of {sample.source} has no verdict. Grade it first: posttrain regrade.")
    return sample.verdict


def group_by_item(samples: Sequence[Sample]) -> dict[str, list[Sample]]:
    """Samples by problem id, each list in order of index. DataError when problems have unequal numbers of samples."""
    groups: dict[str, list[Sample]] = {}
    for sample in samples:
        groups.setdefault(sample.problem_id, []).append(sample)
    if not groups:
        raise DataError("there are no samples to score. Evaluate at least one problem.")
    sizes = {len(g) for g in groups.values()}
    if len(sizes) > 1:
        raise DataError(
            f"problems have between {min(sizes)} and {max(sizes)} samples; every one needs the same number. "
            "Finish the evaluation by running it again."
        )
    return {item: sorted(group, key=lambda s: s.index) for item, group in groups.items()}


def judged(samples: Sequence[Sample]) -> Judged:
    """The verdicts of samples as arrays."""
    groups = group_by_item(samples)
    verdicts = [[verdict_of(s).correct for s in group] for group in groups.values()]
    return Judged(
        tuple(groups),
        np.array([[v is True for v in row] for row in verdicts]),
        np.array([[v is None for v in row] for row in verdicts]),
    )


def measure(samples: Sequence[Sample], confidence: float = 0.95) -> dict[str, Any]:
    """One entry of scores.json: JSON-able, with rates over samples and the interval over problems.

    bounds: accuracy if every undecided verdict were wrong, and if every one were right.
    """
    table = judged(samples)
    verdicts = [verdict_of(s) for s in samples]
    estimate = estimate_accuracy(table.scores, table.samples_per_item, confidence)
    undecided = table.undecided_rate
    entry = {
        "n": estimate.n,
        "samples_per_item": table.samples_per_item,
        "accuracy": estimate.value,
        "interval": [estimate.low, estimate.high],
        "confidence": confidence,
        "interval_method": estimate.method,
        "se": estimate.se,
        "format_rate": _share(v.format_ok for v in verdicts),
        "truncation_rate": _share(s.truncated for s in samples),
        "unparsed_rate": _share(v.correct is not None and not v.parsed for v in verdicts),
        "undecided_rate": undecided,
        "bounds": [estimate.value, min(1.0, estimate.value + undecided)],
        "mean_tokens": _mean([len(s.token_ids) for s in samples if s.token_ids is not None]),
        "reasons": _counts(v.reason for v in verdicts),
    }
    if table.samples_per_item > 1:
        entry |= _repeated(samples, table)
    return entry


def _repeated(samples: Sequence[Sample], table: Judged) -> dict[str, Any]:
    """pass@k for powers of two up to K, and maj@K over the items that had a parsed answer."""
    k_max = table.samples_per_item
    counts = table.correct.sum(axis=1)
    powers = [2**j for j in range(k_max.bit_length()) if 2**j <= k_max]
    votes = [_vote(group) for group in group_by_item(samples).values()]
    parsed = [v for v in votes if v is not None]
    return {
        "pass_at": {str(k): float(pass_at_k(counts, k_max, k).mean()) for k in powers},
        "maj_at": {str(k_max): float(np.mean(parsed)) if parsed else None},
        "maj_unparsed": len(votes) - len(parsed),
    }


def _vote(group: Sequence[Sample]) -> float | None:
    """maj@K of one item: all correct answers are one cluster (the grader calls them equal to the gold)."""
    verdicts = [verdict_of(s) for s in group]
    labels = [("gold",) if v.correct else (v.extracted,) if v.parsed else None for v in verdicts]
    return majority_score(labels, [v.correct is True for v in verdicts])


def _share(flags: Iterable[bool]) -> float:
    values = list(flags)
    return float(sum(values) / len(values))


def _mean(values: Sequence[int]) -> float | None:
    return sum(values) / len(values) if values else None


def _counts(reasons: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for reason in reasons:
        counts[reason] = counts.get(reason, 0) + 1
    return dict(sorted(counts.items()))
