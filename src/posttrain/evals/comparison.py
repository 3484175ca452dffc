"""Two models' samples of one benchmark, compared item by item."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from posttrain.errors import DataError
from posttrain.evals.decompose import decompose
from posttrain.evals.metrics import judged
from posttrain.records import Sample
from posttrain.stats import compare_paired, holm, in_words
from posttrain.stats.paired import Paired

MAX_UNDECIDED = 0.01


@dataclass(frozen=True)
class Answers:
    """One model's samples of one benchmark, with the entry of scores.json that describes them."""

    entry: dict[str, Any]
    samples: Sequence[Sample]

    @property
    def model(self) -> str:
        return str(self.entry["model"])

    @property
    def benchmark(self) -> str:
        return str(self.entry["benchmark"])


@dataclass(frozen=True)
class Comparison:
    """accuracy(b) − accuracy(a) on shared items. `p_adjusted` is Holm's over the family it was made in."""

    a: str
    b: str
    benchmark: str
    paired: Paired
    p_adjusted: float
    family: int
    verdict: str
    parts: dict[str, float] | None
    """Where the difference comes from (decompose.py); None where the two have different numbers of samples."""

    def as_json(self) -> dict[str, Any]:
        """The entry of report.json."""
        p = self.paired
        return {
            "a": self.a,
            "b": self.b,
            "benchmark": self.benchmark,
            "difference": p.difference,
            "interval": [p.low, p.high],
            "p": p.p,
            "p_adjusted": self.p_adjusted,
            "verdict": self.verdict,
            "n": p.n,
            "won": p.won,
            "lost": p.lost,
            "minimal_detectable_difference": p.mde,
            "test": p.test,
            "interval_method": p.interval,
            "confidence": p.confidence,
            "family": self.family,
            "parts": self.parts,
        }


def compare(a: Answers, b: Answers, *, confidence: float = 0.95, seed: int = 0) -> Comparison:
    """One comparison, alone in its family."""
    return compare_family([(a, b)], confidence=confidence, seed=seed)[0]


def compare_family(
    pairs: Sequence[tuple[Answers, Answers]], *, confidence: float = 0.95, seed: int = 0
) -> list[Comparison]:
    """All pairs as one family: verdicts use Holm's adjusted p-values.

    DataError when two sides differ in benchmark fingerprint, items or samples per item (naming what differs), or more
    than 1 % of either side's verdicts are undecided.
    """
    results = [_pair(a, b, confidence, seed) for a, b in pairs]
    adjusted = holm([r.p for r in results])
    return [
        Comparison(
            a.model,
            b.model,
            a.benchmark,
            paired,
            p,
            len(results),
            in_words(paired, p=p),
            decompose(a.samples, b.samples, str(a.entry["settings"]["grading"])),
        )
        for (a, b), paired, p in zip(pairs, results, adjusted, strict=True)
    ]


def _pair(a: Answers, b: Answers, confidence: float, seed: int) -> Paired:
    reason = refusal(a, b)
    if reason is not None:
        raise DataError(reason)
    first, second = judged(a.samples), judged(b.samples)
    rank = {item: i for i, item in enumerate(second.items)}
    order = np.array([rank[item] for item in first.items])
    k = max(first.samples_per_item, second.samples_per_item)
    return compare_paired(first.scores, second.scores[order], samples_per_item=k, confidence=confidence, seed=seed)


def refusal(a: Answers, b: Answers) -> str | None:
    """Why the two must not be compared, or None: asked differently, other problems, or too much undecided."""
    if a.entry["fingerprint"] != b.entry["fingerprint"]:
        return (
            f"{a.model} and {b.model} were not asked the same: they differ in {_differing(a, b)}. "
            "Evaluate both with the same settings."
        )
    first, second = judged(a.samples), judged(b.samples)
    only_a, only_b = set(first.items) - set(second.items), set(second.items) - set(first.items)
    if only_a or only_b:
        example = min(only_a or only_b)
        return (
            f"{a.model} and {b.model} answered different problems of {a.benchmark}: {len(only_a)} only the first, "
            f"{len(only_b)} only the second (for example {example!r}). Evaluate both on the same problems."
        )
    for side, table in ((a, first), (b, second)):
        if table.undecided_rate > MAX_UNDECIDED:
            return (
                f"{100 * table.undecided_rate:.1f} % of the verdicts on {side.model} are undecided (the limit is 1 %), "
                "so a comparison would rest on the grader's luck. Regrade with more time, or mend the grader."
            )
    return None


def _differing(a: Answers, b: Answers) -> str:
    """Every setting in which the two evaluations differ, with both values."""
    left, right = a.entry["settings"], b.entry["settings"]
    names = sorted(key for key in {*left, *right} if left.get(key) != right.get(key))
    return "; ".join(f"{key} ({left.get(key)!r} and {right.get(key)!r})" for key in names)
