"""docs/scaling.md: its tables are what its results give, and its arithmetic holds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from perf.scaling_page import MEANING, limits, page, rates, shape

ROOT = Path(__file__).resolve().parents[3]
RESULTS = ROOT / "perf" / "results" / "scaling-epyc-2core.json"
NAME = RESULTS.relative_to(ROOT)
COMMAND = f"python -m perf.scaling --from {NAME} --page docs/scaling.md"


def facts() -> dict[str, float]:
    if not RESULTS.is_file():
        pytest.skip(f"{NAME} is not measured yet: python -m perf.scaling --json {NAME} --page docs/scaling.md")
    told: dict[str, float] = json.loads(RESULTS.read_text(encoding="utf-8"))["facts"]
    return told


def test_the_tables_are_those_of_the_results() -> None:
    text = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
    again = page(text, facts())
    assert again == text, COMMAND
    assert set(MEANING) == set(facts())


def test_the_model_reckoned_with_is_qwens() -> None:
    assert shape().parameters == 1_543_714_304


def test_a_part_twice_as_fast_is_full_at_twice_as_many_gpus() -> None:
    before = {part: gpus for part, _, gpus in limits(facts())}
    after = {part: gpus for part, _, gpus in limits({**facts(), "client_tokens": 2 * facts()["client_tokens"]})}
    (client,) = [part for part in before if part.startswith("client")]
    assert after[client] == pytest.approx(2 * before[client])
    assert after.pop(client) != before.pop(client)
    assert after == before


def test_a_gpu_samples_and_trains_as_a_plan_reckons() -> None:
    sampled, trained = rates()
    peak = 9.89e14 / 3
    assert sampled == pytest.approx(0.1 * peak / (2 * 1_543_714_304))
    assert trained == pytest.approx(peak / (6 * 1_543_714_304))
