"""What SFT cannot learn from, through the real stages: one message with the reason and the remedy, no model written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from posttrain.errors import DataError, PosttrainError, RecipeError
from posttrain.pipeline import run_stage
from posttrain.store import Artifact, Manifest

TINY = {"hidden": 16, "layers": 1, "heads": 2, "vocabulary": 300, "context": 256}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    folder = tmp_path_factory.mktemp("base")
    text = {"dataset": "synthetic-text", "train": 20, "validation": 0, "test": 0}
    corpus = run_stage("data", text, {}, folder / "text", quiet=True)
    config = {"model": TINY, "steps": 1, "block": 32, "batch_size": 2}
    return run_stage("pretrain", config, {"corpus": corpus}, folder / "base", quiet=True, device="cpu")


def rows(folder: Path, responses: list[str]) -> Artifact:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps({"prompt": "What is 1 + 1?", "completion": r}) + "\n" for r in responses))
    return run_stage("examples", {"source": str(path)}, {}, folder / "examples", quiet=True)


def sft(base: Artifact, traces: Artifact, folder: Path, **config: Any) -> Artifact:
    inputs = {"model": base, "traces": traces}
    return run_stage("sft", {"steps": 1, "batch_size": 2, **config}, inputs, folder, quiet=True, device="cpu")


CASES: dict[str, tuple[list[str], dict[str, Any], type[PosttrainError], str]] = {
    "unknown template": (["2"], {"template": "qwem"}, RecipeError, r"unknown template 'qwem'. Did you mean 'qwen'\?"),
    "no response anywhere": (["", " \n"], {}, DataError, "2 have no response"),
    "everything masked": (["2"], {"max_tokens": 10, "overlong": "truncate"}, DataError, "max_tokens"),
    "all too long": (["2 " * 300], {"max_tokens": 64}, DataError, "max_tokens"),
    "too long is an error": (
        ["2 " * 300],
        {"max_tokens": 64, "overlong": "error"},
        DataError,
        "more than max_tokens 64",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_cannot_be_learned_from_is_refused(case: str, base: Artifact, tmp_path: Path) -> None:
    responses, config, kind, said = CASES[case]
    with pytest.raises(kind, match=said):
        sft(base, rows(tmp_path, responses), tmp_path / "sft", **config)
    manifest = Manifest.read(tmp_path / "sft")
    assert manifest is None or manifest.status != "finished"
    assert not (tmp_path / "sft" / "model").exists()


def test_single_rows_without_a_response_are_left_out_and_counted(base: Artifact, tmp_path: Path) -> None:
    made = sft(base, rows(tmp_path, ["2", "", "It is 2."]), tmp_path / "sft")
    manifest = Manifest.read(made.path)
    assert manifest is not None
    assert (manifest.summary["examples"], manifest.summary["left_out"]) == (2, 1)
