"""The offline selection experiment without its training: planted defects, the pool's own filters, the truth."""

from __future__ import annotations

from pathlib import Path

import pytest
from perf.selection import truth

from posttrain.pipeline import build_graph, load_recipe, run_graph
from posttrain.pipeline.wishes import Wishes
from posttrain.store import Samples


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recipe's data at full size, and its pool without a student, whom no filter asks."""
    changes = ["pool.student=null", "problems.train=1400"]
    graph = build_graph(load_recipe("selection-offline", changes))
    folder = tmp_path_factory.mktemp("selection") / "run"
    for stage in ("problems", "traces", "raw", "pool"):
        run_graph(graph, folder, Wishes(only=stage), quiet=True, say=lambda line: None)
    return folder


def test_planted_defects_are_found_and_little_else_is_dropped(run: Path) -> None:
    """Recall of duplicates and contamination at least 99 %, precision at least 95 %; no wrong answer passes."""
    found = truth(run / "pool", run / "raw")
    for name in ("duplicates", "contamination"):
        rate = found[name]
        assert (rate["planted"] or 0) >= 50, (name, rate)
        assert (rate["recall"] or 0) >= 0.99, (name, rate)
        assert (rate["precision"] or 0) >= 0.95, (name, rate)
    assert found["wrong answers"]["recall"] == 1.0
    assert found["wrong answers"]["precision"] == 1.0


def test_the_pool_is_what_training_may_see(run: Path) -> None:
    rows = list(Samples(run / "pool").read())
    assert all(s.verdict is not None and s.verdict.correct for s in rows)
    assert not any(s.extra.get("flawed") for s in rows)
    assert sum(s.extra.get("planted") == "contaminated" for s in rows) <= 1
    assert sum(s.extra.get("planted") == "detour" for s in rows) > 200, "detours are right, and stay"
