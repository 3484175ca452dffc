"""How the processes of a sweep share its checkpoints, fail and die."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.unit.evals.fake_worker import DIES, FAILS, LATE

from posttrain.errors import EngineError, ModelError
from posttrain.evals.sweep import SweepConfig
from posttrain.evals.sweep.points import Point
from posttrain.evals.sweep.shards import answer_in_shards, shards_for
from posttrain.stage import Workspace


@pytest.fixture(autouse=True)
def _no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("posttrain.evals.sweep.shards.WORKER", "tests.unit.evals.fake_worker")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[3]), *filter(None, sys.path)]))


def shared(folder: Path, *steps: int) -> dict[int, Any]:
    """step → who did it."""
    work = Workspace(folder, quiet=True)
    walk = [Point(f"step-{step:06d}", step, "w", "nowhere") for step in steps]
    answered = answer_in_shards(SweepConfig(), walk, work, None, [("cpu", ""), ("cpu", "")])
    return {point.step: digest["by"] for point, digest in answered}


def test_each_process_takes_the_next_checkpoint_when_it_has_finished_one(tmp_path: Path) -> None:
    done = shared(tmp_path, LATE, 1, 2, 3, 4)
    assert sorted(done) == [1, 2, 3, 4, LATE]
    assert len(set(done.values())) == 2
    assert len({done[step] for step in (1, 2, 3, 4)}) == 1, "the other one was still busy with the first"


def test_a_failure_stops_the_sweep_with_its_words_and_what_is_finished_is_kept(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"the model is gone\. Bring it back"):
        shared(tmp_path, 1, 2, FAILS)
    assert list(tmp_path.glob(".work/*/finished.json"))


def test_a_process_that_dies_is_told_with_what_it_said_last(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"(?s)answered step-000014 ended with 9; .* run again.*says the driver"):
        shared(tmp_path, DIES, 1)


def test_without_gpus_one_process_answers_unless_shards_says_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert shards_for(SweepConfig(), "auto", 20) == [("cpu", "")]
    assert len(shards_for(SweepConfig(shards=3), "auto", 20)) == 3
    assert len(shards_for(SweepConfig(shards=3), "auto", 2)) == 2, "no more than checkpoints"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    assert shards_for(SweepConfig(), "auto", 20) == [("cuda", "4"), ("cuda", "5")]
    assert len(shards_for(SweepConfig(shards=1), "cuda", 20)) == 1
    vllm = SweepConfig.model_validate({"engine": "vllm", "vllm": {"tensor_parallel": 2}})
    assert len(shards_for(vllm, "cuda", 20)) == 1, "its own replicas take them"
    assert shards_for(SweepConfig(), "cpu", 20) == [("cpu", "")]
