"""The recipes on real GSM8K, reduced by --smoke: the whole path on real problems, and a report that claims nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from posttrain.pipeline import build_graph, load_recipe, plan_graph


@pytest.mark.parametrize(
    ("recipe", "models"), [("gsm8k-tiny", ["base", "sft"]), ("gsm8k-grpo-tiny", ["base", "sft", "rl"])]
)
def test_a_recipe_runs_on_real_problems(
    recipe: str, models: list[str], mirror: Path, tmp_path: Path, posttrain: Callable[..., Any]
) -> None:
    done = posttrain("run", recipe, "--smoke", timeout=500, POSTTRAIN_DATA=str(mirror))
    assert done.returncode == 0, done.stderr
    run = tmp_path / "runs" / f"{recipe}-smoke"
    manifest = json.loads((run / "problems" / "manifest.json").read_text())
    assert {k: manifest["summary"][k] for k in ("train", "validation", "test")} == {
        "train": 600,
        "validation": 512,
        "test": 24,
    }
    report = json.loads((run / "report" / "report.json").read_text())
    assert [m["name"] for m in report["models"]] == models
    assert all(m["n"] == 24 for m in report["models"])
    assert all(c["verdict"].startswith("cannot tell; it would take about") for c in report["comparisons"])
    assert "Cannot tell whether sft is better than base" in (run / "report" / "report.html").read_text()
    if "rl" in models:
        (note, *_) = [n["note"] for n in report["notes"] if n["artifact"] == "rl"]
        assert "every rollout was wrong" in note
        assert "start from a better SFT checkpoint" in note


def test_the_whole_recipe_asks_all_of_the_test_problems(tmp_path: Path) -> None:
    graph = build_graph(load_recipe("gsm8k-tiny"))
    assert graph.nodes["problems"].config.model_dump()["validation"] == 512
    assert graph.nodes["problems"].config.model_dump()["limit"] is None
    assert graph.nodes["scores"].config.model_dump()["limit"] is None
    assert [one.status for one in plan_graph(graph, tmp_path / "run")] == ["make"] * len(graph.nodes)
