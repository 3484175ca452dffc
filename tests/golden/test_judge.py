"""Length-controlled win rates are alpaca_eval's own, kappas scikit-learn's: judge.json holds what they said
(make_judge.py)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from posttrain.judge.agreement import cohen_kappa
from posttrain.judge.length_controlled import Gamed, length_controlled

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parent / "judge.json").read_text())
# Percentage points. Theirs stops at liblinear's tolerance of 1e-4, ours goes on to 1e-9.
CLOSE = 0.02


def ours(one: dict[str, Any], *, full: bool) -> float:
    """In percent. A preference of 0 is a tie there, and they count from 1 to 2."""
    preference = [np.nan if p is None else 0.5 if p == 0 else p - 1 for p in one["preference"]]
    difference = np.array(one["baseline"]) - np.array(one["model"])
    gamed = Gamed(*(np.array(one["gamed"][c]) for c in ("preference", "std_delta_len", "instruction_difficulty")))
    found = length_controlled(preference, difference, *((one["difficulty"], gamed) if full else ()))
    assert found.low <= found.win_rate <= found.high
    assert (found.difficulty is not None) == full
    return 100 * found.win_rate


@pytest.mark.parametrize("one", GOLDEN["sets"], ids=lambda one: one["name"])
def test_the_minimal_form_is_the_reference_implementations(one: dict[str, Any]) -> None:
    assert ours(one, full=False) == pytest.approx(one["expected"]["minimal"]["length_controlled"], abs=CLOSE)


@pytest.mark.parametrize("one", GOLDEN["sets"], ids=lambda one: one["name"])
def test_with_difficulties_and_gamed_judgements_it_is_length_controlled_v1(one: dict[str, Any]) -> None:
    expected = one["expected"]["length_controlled_v1"]
    assert ours(one, full=True) == pytest.approx(expected["length_controlled"], abs=CLOSE)
    read = [0.5 if p == 0 else p - 1 for p in one["preference"] if p is not None]
    assert 100 * float(np.mean(read)) == pytest.approx(expected["win_rate"], abs=1e-6)


def test_the_sets_tell_the_controlled_rate_from_the_raw_one() -> None:
    moved = [
        e["expected"]["minimal"]["length_controlled"] - e["expected"]["minimal"]["win_rate"] for e in GOLDEN["sets"]
    ]
    assert max(map(abs, moved)) > 3


@pytest.mark.parametrize("case", GOLDEN["kappas"], ids=lambda c: f"{c['k']} {c['weights']}")
def test_kappa_is_scikit_learns(case: dict[str, Any]) -> None:
    found = cohen_kappa(case["a"], case["b"], weights=case["weights"], categories=range(case["k"]))
    assert found.kappa == pytest.approx(case["kappa"], abs=1e-12)
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.kappa < found.high
