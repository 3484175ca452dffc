"""Two ways of training with several seeds each, compared: the seeds are never folded into the sampling interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posttrain.errors import DataError
from posttrain.evals.comparison import Answers, refusal
from posttrain.evals.metrics import judged
from posttrain.evals.table import markdown, p_value, percent, points
from posttrain.stats import SeedComparison, compare_seeds


@dataclass(frozen=True)
class Method:
    """One way of training: its models, one per seed, on one benchmark."""

    name: str
    answers: tuple[Answers, ...]


def compare_methods(a: Method, b: Method, *, confidence: float = 0.95, seed: int = 0) -> dict[str, Any]:
    """JSON-able comparison of two methods on their benchmark. DataError as for two models, for any two of them."""
    first = a.answers[0]
    for other in (*a.answers[1:], *b.answers):
        reason = refusal(first, other)
        if reason is not None:
            raise DataError(reason)
    items = judged(first.samples).items
    found = compare_seeds(_scores(a, items), _scores(b, items), confidence=confidence, seed=seed)
    return {"a": a.name, "b": b.name, "benchmark": first.benchmark, **asdict(found), "verdict": verdict(found)}


def _scores(method: Method, items: Sequence[str]) -> NDArray[np.float64]:
    """[seeds, items] in the order of `items`."""
    rows = []
    for answers in method.answers:
        table = judged(answers.samples)
        rank = {item: i for i, item in enumerate(table.items)}
        rows.append(table.scores[[rank[item] for item in items]])
    return np.stack(rows)


def verdict(found: SeedComparison) -> str:
    """ "better", "worse", or "cannot tell" with the number of seeds that it would take."""
    return in_words(found.difference, found.p, found.confidence, found.seeds_needed)


def in_words(difference: float, p: float, confidence: float, seeds_needed: int | None) -> str:
    """`verdict` of numbers; `p` may be adjusted for a family of comparisons."""
    if p < 1 - confidence and difference != 0:
        return "better" if difference > 0 else "worse"
    more = f"; it would take about {seeds_needed} seeds of each" if seeds_needed else ""
    return f"cannot tell{more}"


def seeds_table(comparisons: Sequence[dict[str, Any]]) -> str:
    """Markdown: each method's accuracy per seed and their spread, and the difference with both intervals."""
    header = ["comparison", "benchmark", "seeds of a", "seeds of b", "difference", "over seeds", "p", "over problems"]
    rows = [
        [
            f"{c['b']} − {c['a']}",
            f"{c['benchmark']} (n = {c['n']:,})",
            _side(c["accuracies_a"], c["spread_a"]),
            _side(c["accuracies_b"], c["spread_b"]),
            points(c["difference"]),
            f"{points(c['low'])} to {points(c['high'])}",
            p_value(c["p"]).removeprefix("p ").removeprefix("= "),
            f"{points(c['items_low'])} to {points(c['items_high'])}",
            c["verdict"],
        ]
        for c in comparisons
    ]
    return markdown([*header, "verdict"], rows)


def _side(accuracies: Sequence[float], spread: float | None) -> str:
    each = ", ".join(percent(a) for a in accuracies)
    return each if spread is None else f"{each} (sd {100 * spread:.1f})"
