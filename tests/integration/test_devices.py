"""A real model on two devices of this machine (the processor, twice): the bytes of one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.kill import data_digests

from posttrain.data.synthetic import LEVELS, problems
from posttrain.models import TinyConfig, save_model, tiny_model, train_tokenizer
from posttrain.pipeline import build_graph, parse_recipe, run_graph


def test_an_evaluation_on_two_devices_has_the_bytes_of_one(tmp_path: Path) -> None:
    tokenizer = train_tokenizer([p.question for p in problems(1, "train", 200, tuple(LEVELS))], 400)
    save_model(tiny_model(tokenizer, TinyConfig(hidden=32, layers=2, heads=2), seed=3), tokenizer, tmp_path / "base")
    asked = {"max_tokens": 12, "temperature": 1.0, "n": 2, "template": "plain", "block": 8}
    recipe: dict[str, Any] = {
        "name": "r",
        "seed": 5,
        "stages": {
            "problems": {"stage": "data", "dataset": "synthetic", "train": 20, "validation": 0, "test": 44},
            "scores": {"stage": "eval", "models": [str(tmp_path / "base")], "problems": "problems", **asked},
        },
    }
    for name, more in (("one", {}), ("two", {"devices": ["cpu", "cpu"]})):
        graph = build_graph(parse_recipe({**recipe, **more}, "r.yaml"))
        run_graph(graph, tmp_path / name, quiet=True, say=lambda line: None)
    assert data_digests(tmp_path / "two") == data_digests(tmp_path / "one")
    logs = [p.name for p in (tmp_path / "two" / "logs").iterdir()]
    assert sorted(logs) == ["problems.log", "scores.log", "scores.shard-1.log", "scores.shard-2.log"]
