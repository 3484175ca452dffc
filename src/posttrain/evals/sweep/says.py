"""What the scores of a sweep say over steps: a trend, paired tests between steps, and the best step.

The best step is chosen on the selection split alone: the step that scores best on some problems was also lucky on
them, so its score is told on the others, and never on those that chose it. Axis letters: C checkpoints, n problems.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posttrain.errors import DataError
from posttrain.evals.analytics import solved_over_steps
from posttrain.evals.comparison import MAX_UNDECIDED
from posttrain.stats import Trend, compare_paired, estimate_accuracy, holm, in_words, trend
from posttrain.stats.paired import Paired


@dataclass(frozen=True)
class Course:
    """The scores of one problem set. labels, steps [C] in order of steps; items [n]; scores [C, n]; undecided rates
    [C]."""

    labels: tuple[str, ...]
    steps: tuple[int, ...]
    items: tuple[str, ...]
    scores: NDArray[np.float64]
    undecided: tuple[float, ...]
    samples_per_item: int


def says(course: Course, share: float, *, confidence: float = 0.95, seed: int = 0) -> dict[str, Any]:
    """JSON-able: trend, comparisons, best, solved, refused. share: of the problems, on which the best step is
    chosen."""
    refused = [
        {"label": label, "reason": f"{100 * rate:.1f} % of the verdicts are undecided (the limit is 1 %)"}
        for label, rate in zip(course.labels, course.undecided, strict=True)
        if rate > MAX_UNDECIDED
    ]
    compared = _without(course, {r["label"] for r in refused})
    told = trend(compared.steps, compared.scores, confidence=confidence, seed=seed) if len(compared.steps) > 1 else None
    return {
        "trend": _trend(told, confidence) if told is not None else None,
        "comparisons": _comparisons(compared, confidence, seed),
        "best": _best(compared, share, confidence, seed) if compared.steps else None,
        "solved": _solved(course),
        "refused": refused,
    }


def _without(course: Course, labels: set[str]) -> Course:
    keep = [i for i, label in enumerate(course.labels) if label not in labels]
    return Course(
        tuple(course.labels[i] for i in keep),
        tuple(course.steps[i] for i in keep),
        course.items,
        course.scores[keep],
        tuple(course.undecided[i] for i in keep),
        course.samples_per_item,
    )


def _trend(told: Trend, confidence: float) -> dict[str, Any]:
    """The slope is in accuracy per step of training."""
    sure = told.p < 1 - confidence and told.slope != 0
    verdict = ("rises" if told.slope > 0 else "falls") if sure else "cannot tell"
    return {**asdict(told), "confidence": confidence, "verdict": verdict}


def _comparisons(course: Course, confidence: float, seed: int) -> list[dict[str, Any]]:
    """Each checkpoint against the first and against the one before it: one family, p adjusted by Holm."""
    steps = range(len(course.steps))
    pairs = list(dict.fromkeys([*((0, j) for j in steps[1:]), *itertools.pairwise(steps)]))
    found = [_paired(course, a, b, slice(None), confidence, seed) for a, b in pairs]
    adjusted = holm([one.p for one in found])
    return [
        _comparison(course, a, b, one, p, len(pairs)) for (a, b), one, p in zip(pairs, found, adjusted, strict=True)
    ]


def _paired(course: Course, a: int, b: int, items: slice | NDArray[np.bool_], confidence: float, seed: int) -> Paired:
    return compare_paired(
        course.scores[a, items],
        course.scores[b, items],
        samples_per_item=course.samples_per_item,
        confidence=confidence,
        seed=seed,
    )


def _comparison(course: Course, a: int, b: int, one: Paired, adjusted: float, family: int) -> dict[str, Any]:
    return {
        "a": course.labels[a],
        "b": course.labels[b],
        "difference": one.difference,
        "interval": [one.low, one.high],
        "p": one.p,
        "p_adjusted": adjusted,
        "family": family,
        "won": one.won,
        "lost": one.lost,
        "n": one.n,
        "test": one.test,
        "confidence": one.confidence,
        "minimal_detectable_difference": one.mde,
        "verdict": in_words(one, p=adjusted),
    }


def selected(items: Sequence[str], share: float) -> NDArray[np.bool_]:
    """[n]: the share of problems whose hashed id comes first. At least one; all of them for a share of 1."""
    count = max(1, round(share * len(items)))
    ranked = sorted(range(len(items)), key=lambda i: hashlib.sha256(f"selection/{items[i]}".encode()).digest())
    chosen = np.zeros(len(items), dtype=bool)
    chosen[ranked[:count]] = True
    return chosen


def _best(course: Course, share: float, confidence: float, seed: int) -> dict[str, Any]:
    """The step with the highest accuracy on the selection split (the earliest of several), and its score elsewhere."""
    chosen = selected(course.items, share)
    accuracies = course.scores[:, chosen].mean(axis=1)
    best, last = int(accuracies.argmax()), len(course.steps) - 1
    told: dict[str, Any] = {
        "label": course.labels[best],
        "step": course.steps[best],
        "selection": {"share": share, "n": int(chosen.sum()), "accuracy": float(accuracies[best])},
        "held_out": None,
    }
    rest = ~chosen
    if rest.any():
        estimate = estimate_accuracy(course.scores[best, rest], course.samples_per_item, confidence)
        told["held_out"] = {"n": estimate.n, "accuracy": estimate.value, "interval": [estimate.low, estimate.high]}
        if best != last:
            one = _paired(course, last, best, rest, confidence, seed)
            told["held_out"]["against_last"] = _comparison(course, last, best, one, one.p, 1)
    return told


def _solved(course: Course) -> dict[str, Any]:
    """Problems that any checkpoint solves, that the last one has forgotten, and how often one changes on average."""
    solved = solved_over_steps(course.scores)
    return {
        "ever": int((solved.first >= 0).sum()),
        "at_last": int(solved.solved[-1].sum()),
        "forgotten": int(solved.forgotten.sum()),
        "flips_per_problem": float(solved.flips.mean()),
        "gained": solved.gained.tolist(),
        "lost": solved.lost.tolist(),
    }


def course_of(labels: Sequence[str], steps: Sequence[int], items: Sequence[dict[str, Any]], k: int) -> Course:
    """The scores that checkpoints left (`items`: ids, scores, undecided), in the order of the first one's problems.

    DataError where two answered different problems.
    """
    ids = list(items[0]["ids"])
    rows = []
    for label, one in zip(labels, items, strict=True):
        rank = {item: i for i, item in enumerate(one["ids"])}
        if rank.keys() != set(ids):
            raise DataError(
                f"{label} answered other problems than {labels[0]}. Sweep them with the same settings, with --fresh."
            )
        rows.append(np.asarray(one["scores"], dtype=np.float64)[[rank[item] for item in ids]])
    undecided = tuple(float(one["undecided"]) for one in items)
    return Course(tuple(labels), tuple(steps), tuple(ids), np.stack(rows), undecided, k)
