from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from posttrain.errors import StoreError
from posttrain.pipeline import run_stage
from posttrain.store.lineage import as_dict, describe, lineage


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """problems → traces (teacher) → student → scores."""
    run = tmp_path / "run"
    problems = run_stage("tests.toys:numbers", {}, {}, run / "problems", seed=1)
    traces = run_stage("tests.toys:told", {"teacher": "wise"}, {"problems": problems}, run / "traces", seed=2)
    student = run_stage("tests.toys:student", {"steps": 10}, {"traces": traces}, run / "student", seed=3)
    run_stage("tests.toys:scores", {}, {"models": [student]}, run / "scores", seed=4)
    return run


def test_a_walk_reaches_data_teacher_seeds_and_code(run: Path) -> None:
    told = describe(lineage(run / "scores"))
    names = [line.lstrip("│├└─ ").split("  ")[0] for line in told.splitlines() if "seed" in line]
    assert names == ["scores", "models: student", "traces: traces", "problems: problems"]
    assert "teacher=wise" in told
    assert [f"seed {n}," in told for n in (1, 2, 3, 4)] == [True] * 4
    assert "posttrain 0.1.0" in told


def test_a_checkpoint_inside_an_artifact_leads_to_it(run: Path) -> None:
    origin = lineage(run / "student" / "checkpoints")
    assert (origin.name, origin.note) == ("student", "checkpoints of it")


def test_a_run_that_was_moved_keeps_its_lineage(run: Path, tmp_path: Path) -> None:
    before = as_dict(lineage(run / "scores"))["inputs"][0]["digest"]
    shutil.move(run, tmp_path / "elsewhere")
    assert as_dict(lineage(tmp_path / "elsewhere" / "scores"))["inputs"][0]["digest"] == before


def test_an_input_made_again_is_found_among_its_old_versions(run: Path) -> None:
    run_stage("tests.toys:told", {"teacher": "wiser"}, {"problems": run / "problems"}, run / "traces", fresh=True)
    origin = lineage(run / "student")
    assert origin.inputs[0].name == "traces@1"
    shutil.rmtree(run / "traces@1")
    assert "made again since" in describe(lineage(run / "student"))


def test_a_model_from_the_hub_is_named_with_its_role(run: Path) -> None:
    run_stage("tests.toys:student", {}, {"model": "Qwen/Qwen2.5-0.5B"}, run / "tuned")
    assert "model: Qwen/Qwen2.5-0.5B  (from the hub)" in describe(lineage(run / "tuned"))


def test_a_folder_without_history_says_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="nothing is known of how it was made"):
        lineage(tmp_path)
    with pytest.raises(StoreError, match="does not exist"):
        lineage(tmp_path / "nothing")
