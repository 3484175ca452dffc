"""What a set of graded samples says: accuracy with its interval, and the rates without which it is never shown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posttrain.errors import DataError
from posttrain.records import Sample, Verdict
from posttrain.stats import estimate_accuracy, item_means, majority_score, pass_at_k, t_interval

MEAN_LOGPROB = "mean_logprob"  # in a sample's extra: of its tokens, under the distribution they were drawn from
SCORED = "scored"  # the reason code of a share of a point, which stands in the sample's reward


@dataclass(frozen=True)
class Judged:
    """Samples as arrays over n items (in the order of their first sample) and K samples each.

    correct, undecided: bool [n, K]; an undecided sample is not correct.
    points: what each sample counts, [n, K]: 1 or 0 as it is correct, or the share that another suite gave it.
    """

    items: tuple[str, ...]
    correct: NDArray[np.bool_]
    undecided: NDArray[np.bool_]
    points: NDArray[np.float64]

    @property
    def samples_per_item(self) -> int:
        return int(self.correct.shape[1])

    @property
    def scores(self) -> NDArray[np.float64]:
        """Item means [n]."""
        return item_means(self.points)

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
        np.array([[_points(s) for s in group] for group in groups.values()], dtype=np.float64),
    )


def _points(sample: Sample) -> float:
    verdict = verdict_of(sample)
    if verdict.reason == SCORED and sample.reward is not None:
        return sample.reward
    return float(verdict.correct is True)


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
        "format_rate": share(v.format_ok for v in verdicts),
        "truncation_rate": share(s.truncated for s in samples),
        "unparsed_rate": share(v.correct is not None and not v.parsed for v in verdicts),
        "undecided_rate": undecided,
        "bounds": [estimate.value, min(1.0, estimate.value + undecided)],
        **lengths(samples, confidence),
        "reasons": _counts(v.reason for v in verdicts),
    }
    if table.samples_per_item > 1:
        entry |= _repeated(samples, table, confidence)
    return entry


def lengths(samples: Sequence[Sample], confidence: float = 0.95) -> dict[str, Any]:
    """Tokens of a response, and their log-probability, as far as the samples know them: means, the first with its
    interval over problems."""
    counts = {item: [len(s.token_ids or ()) for s in group] for item, group in group_by_item(samples).items()}
    known = all(s.token_ids is not None for s in samples)
    means = [sum(c) / len(c) for c in counts.values()]
    told = [(len(s.token_ids or ()), s.extra[MEAN_LOGPROB]) for s in samples if MEAN_LOGPROB in s.extra]
    tokens = sum(n for n, _ in told)
    return {
        "mean_tokens": sum(means) / len(means) if known else None,
        "tokens_interval": list(t_interval(means, confidence)) if known else None,
        "mean_logprob": sum(n * value for n, value in told) / tokens if tokens else None,
    }


def _repeated(samples: Sequence[Sample], table: Judged, confidence: float) -> dict[str, Any]:
    """pass@k for powers of two up to K, and maj@K over the items with a parsed answer, with intervals over items."""
    k_max = table.samples_per_item
    counts = table.correct.sum(axis=1)
    powers = [2**j for j in range(k_max.bit_length()) if 2**j <= k_max]
    votes = [_vote(group) for group in group_by_item(samples).values()]
    parsed = [v for v in votes if v is not None]
    passed = {str(k): estimate_accuracy(pass_at_k(counts, k_max, k), k_max, confidence) for k in powers}
    majority = estimate_accuracy(parsed, k_max, confidence) if parsed else None
    return {
        "pass_at": {k: e.value for k, e in passed.items()},
        "pass_at_interval": {k: [e.low, e.high] for k, e in passed.items()},
        "maj_at": {str(k_max): majority.value if majority else None},
        "maj_at_interval": {str(k_max): [majority.low, majority.high] if majority else None},
        "maj_unparsed": len(votes) - len(parsed),
    }


def _vote(group: Sequence[Sample]) -> float | None:
    """maj@K of one item: all correct answers are one cluster (the grader calls them equal to the gold)."""
    verdicts = [verdict_of(s) for s in group]
    labels = [("gold",) if v.correct else (v.extracted,) if v.parsed else None for v in verdicts]
    return majority_score(labels, [v.correct is True for v in verdicts])


def share(flags: Iterable[bool]) -> float:
    """The share of true ones."""
    values = list(flags)
    return float(sum(values) / len(values))


def _counts(reasons: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for reason in reasons:
        counts[reason] = counts.get(reason, 0) + 1
    return dict(sorted(counts.items()))
