"""`tracking:` of a recipe reaches the stages, and changes nothing about what they make."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from posttrain.errors import MissingExtraError, RecipeError
from posttrain.pipeline import build_graph, parse_recipe, run_graph

STAGES = {
    "text": {"stage": "data", "dataset": "synthetic-text", "train": 60, "validation": 0, "test": 0},
    "base": {
        "stage": "pretrain",
        "corpus": "text",
        "steps": 3,
        "batch_size": 2,
        "block": 16,
        "model": {"hidden": 16, "layers": 1, "heads": 2, "vocabulary": 264},
    },
}


def run(folder: Path, tracking: list[str]) -> Path:
    recipe = parse_recipe({"name": "curves", "stages": STAGES, "tracking": tracking}, "test")
    run_graph(build_graph(recipe), folder / "curves", quiet=True, say=lambda line: None)
    return folder / "curves"


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason="tensorboard is not installed")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_trackers_are_fed_by_the_stages_that_log_and_are_no_part_of_the_artifact(tmp_path: Path) -> None:
    tracked, plain = run(tmp_path / "tracked", ["tensorboard"]), run(tmp_path / "plain", [])
    assert list((tracked / "base" / ".tracking" / "tensorboard").glob("events.*"))
    assert not (tracked / "text" / ".tracking").exists()
    manifests = [json.loads((folder / "base" / "manifest.json").read_text()) for folder in (tracked, plain)]
    assert manifests[0]["digest"] == manifests[1]["digest"]
    assert manifests[0]["fingerprint"] == manifests[1]["fingerprint"]


def test_an_unknown_tracker_is_refused_before_anything_is_planned() -> None:
    with pytest.raises(RecipeError, match="Did you mean 'wandb'"):
        parse_recipe({"name": "curves", "stages": STAGES, "tracking": ["wanb"]}, "test")


def test_an_absent_library_stops_the_run_before_its_first_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda library: None)
    with pytest.raises(MissingExtraError, match=r"posttrain\[wandb\]"):
        run(tmp_path, ["wandb"])
    assert list(tmp_path.iterdir()) == []
