"""What a curation costs, told before."""

from __future__ import annotations

from typing import Any

from posttrain.curate.config import CurateConfig
from posttrain.curate.steps import Step
from posttrain.forecast import SOLUTION_TOKENS, question_tokens

# Seconds per row on one core of a server's CPU, rows of about 200 words. What is absent depends on the student, and is
# not known before.
SECONDS = {
    "correct": 4e-4,
    "format": 4e-4,
    "agreement": 4e-4,
    "length": 1.5e-4,
    "language": 3e-4,
    "repetition": 1e-4,
    "truncated": 2e-6,
    "refusal": 1e-5,
    "images": 1e-5,
    "score": 2e-6,
    "exact_duplicates": 1e-5,
    "near_duplicates": 1.5e-4,
    "decontaminate": 2e-4,
    "random": 1e-5,
    "diversity": 1e-4,
    "semantic_duplicates": 2e-4,
}
EMBEDDING = {
    None: 0.0,
    "minilm": 0.02,
    "tfidf": 2e-4,
}  # seconds per question, in one thread; None = nothing is embedded
STARTUP = 1.0
KEPT = 0.8  # of the rows, where nothing says how many


def curate_forecast(config: CurateConfig, inputs: dict[str, Any]) -> dict[str, Any]:
    """Steps over traces."""
    told = [inputs["of"].facts, *(one.facts for one in inputs.get("also") or ())]
    rows = _total([facts.get("rows") or facts.get("traces") for facts in told])
    tokens = next((facts["tokens"] for facts in told if facts.get("tokens")), None)
    found = _forecast(config, rows, (tokens or 2 * SOLUTION_TOKENS))
    kept = _kept(config, rows)
    found["makes"] = {**({"rows": kept} if kept else {}), **({"tokens": tokens} if tokens else {})}
    return found


def curate_problems_forecast(config: CurateConfig, inputs: dict[str, Any]) -> dict[str, Any]:
    """Steps over problems."""
    told = [inputs["of"].facts, *(one.facts for one in inputs.get("also") or ())]
    split = config.split or "train"
    rows = _total([facts.get(split) for facts in told])
    found = _forecast(config, rows, question_tokens(told[0]) + told[0].get("solution_tokens", SOLUTION_TOKENS))
    kept = _kept(config, rows)
    found["makes"] = {**told[0], split: kept} if kept else {}
    return found


def _seconds(step: Step) -> float | None:
    """Per row; None where it is not known."""
    embedding = EMBEDDING.get(getattr(step.config, "embedding", None))
    own = SECONDS.get(step.name)
    return None if own is None or embedding is None else own + embedding


def _total(counts: list[int | None]) -> int | None:
    return None if None in counts else sum(count for count in counts if count is not None)


def _kept(config: CurateConfig, rows: int | None) -> int | None:
    """The last budget, or most of the rows."""
    budgets = [step.budget for step in config.read() if step.budget is not None]
    if budgets:
        return min(budgets[-1], rows) if rows else budgets[-1]
    return round(KEPT * rows) if rows else None


def _forecast(config: CurateConfig, rows: int | None, tokens: float) -> dict[str, Any]:
    each = [_seconds(step) for step in config.read()]
    known = rows is not None and None not in each
    return {
        "seconds": STARTUP + (rows or 0) * sum(cost or 0 for cost in each) if known else None,
        "memory_bytes": 3e8 + 40 * tokens * rows if rows else None,
        "disk_bytes": 1e5 + 4 * tokens * rows if rows else None,
        "dollars": 0.0,
    }
