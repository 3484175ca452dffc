"""What reading stored answers costs, told of evaluations that may not be made yet."""

from __future__ import annotations

from typing import Any


def reading(inputs: dict[str, Any], *, per_answer: float, disk: float) -> dict[str, Any]:
    """What a stage costs that reads the answers of `of`. per_answer: seconds; disk: bytes written."""
    samples = [scores.facts.get("samples") for scores in inputs["of"]]
    known = None if None in samples else sum(samples)
    return {
        "seconds": None if known is None else 2.0 + per_answer * known,
        "memory_bytes": None if known is None else 3e8 + 4000 * known,
        "disk_bytes": disk,
        "dollars": 0.0,
    }
