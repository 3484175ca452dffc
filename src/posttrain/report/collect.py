"""From Scores to the facts of a report: models, comparisons."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from posttrain.errors import DataError, RecipeError, did_you_mean
from posttrain.evals import Answers, Comparison, compare_family, refusal


def by_benchmark(answers: Sequence[Answers]) -> dict[str, dict[str, Answers]]:
    """benchmark → model → Answers. RecipeError when two evaluations scored one model on one benchmark."""
    found: dict[str, dict[str, Answers]] = {}
    for item in answers:
        models = found.setdefault(item.benchmark, {})
        if item.model in models:
            raise RecipeError(
                f"two evaluations given to this report scored {item.model!r} on {item.benchmark!r}. Give one of them."
            )
        models[item.model] = item
    return found


def model_entry(answers: Answers) -> dict[str, Any]:
    """The entry of report.json for one model on one benchmark."""
    entry = {k: v for k, v in answers.entry.items() if k not in ("model", "settings", "folder")}
    return {"name": answers.model, **entry}


def pairs_to_compare(
    models: Sequence[str], asked: Sequence[tuple[str, str]], walks: Sequence[tuple[str, str]] = ()
) -> list[tuple[str, str]]:
    """Pairs (a, b): the asked ones, else each against the first (the baseline) and each against its predecessor.

    walks: (first, last) checkpoints of sweeps: of these the last against the first, against the baseline, and against
    the last of the sweep before.
    """
    if not asked:
        walked = {name for walk in walks for name in walk}
        models = [m for m in models if m not in walked]
        against_first = [(models[0], m) for m in models[1:]]
        within = [walk for walk in walks if walk[0] != walk[1]]
        lasts = [last for _, last in walks]
        further = [*((m, last) for m in models[:1] for last in lasts), *itertools.pairwise(lasts)]
        return list(dict.fromkeys([*against_first, *itertools.pairwise(models), *within, *further]))
    for name in {n for pair in asked for n in pair}:
        if name not in models:
            raise RecipeError(
                f"report compares {name!r}, which was not evaluated.{did_you_mean(name, models)} "
                f"Evaluated: {', '.join(models)}."
            )
    return list(asked)


def compare_all(
    found: dict[str, dict[str, Answers]],
    asked: Sequence[tuple[str, str]],
    confidence: float,
    refused: list[dict[str, Any]] | None = None,
    walks: Sequence[tuple[str, str]] = (),
) -> list[Comparison]:
    """Comparisons on every benchmark; those of one benchmark are a family (Holm).

    A pair that must not be compared raises DataError, or is put into `refused` with the reason where that is given.
    walks: as for `pairs_to_compare`.
    """
    comparisons: list[Comparison] = []
    for benchmark, models in found.items():
        pairs = []
        for a, b in pairs_to_compare(list(models), asked, [w for w in walks if set(w) <= models.keys()]):
            reason = refusal(models[a], models[b])
            if reason is None:
                pairs.append((models[a], models[b]))
            elif refused is None:
                raise DataError(reason)
            else:
                refused.append({"a": a, "b": b, "benchmark": benchmark, "reason": reason})
        if pairs:
            comparisons += compare_family(pairs, confidence=confidence)
    return comparisons
