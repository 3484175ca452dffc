"""What the explorer finds in a folder, and what it leaves alone."""

from __future__ import annotations

import json
import os
import shutil
import socket
from pathlib import Path

import pytest
from perf.explorer_store import finish, manifest

from posttrain.errors import StoreError
from posttrain.explorer.library import Library


def test_a_run_shows_its_artifacts_and_its_series_of_samples(made: Path) -> None:
    library = Library(made)
    assert set(library.artifacts()) == {"problems", "rl", "sweep"}
    assert list(library.series()) == ["sweep/made", "rl/validation", "rl/rollouts"]
    sweep = library.series()["sweep/made"]
    assert [s.step for s in sweep.sets] == [50, 100, 150, 200]
    assert [s.label for s in sweep.sets] == ["step 50", "step 100", "step 150", "step 200"]
    assert [s.step for s in library.series()["rl/validation"].sets] == [0, 10, 20, 30, 40]
    assert [s.name for s in library.series()["rl/rollouts"].sets] == [
        "rl/rollouts/step-000010",
        "rl/rollouts/step-000020",
    ]


def test_a_folder_of_runs_names_artifacts_by_run(made: Path) -> None:
    assert "demo/sweep" in Library(made.parent).artifacts()


def test_one_artifact_can_be_opened_alone(made: Path) -> None:
    library = Library(made / "sweep")
    assert list(library.artifacts()) == ["sweep"]
    assert list(library.series()) == ["sweep/made"]


def test_an_empty_folder_has_nothing_and_is_no_error(tmp_path: Path) -> None:
    assert Library(tmp_path).artifacts() == {}
    assert Library(tmp_path).series() == {}


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is not a folder"):
        Library(tmp_path / "absent")


@pytest.mark.parametrize(("pid", "state"), [(os.getpid(), "running"), (2**22 + 7, "stopped")], ids=["alive", "gone"])
def test_a_stage_runs_as_long_as_the_process_that_locked_it_lives(tmp_path: Path, pid: int, state: str) -> None:
    manifest("rl", "checkpoint").write(tmp_path / "rl")
    (tmp_path / "rl" / ".lock").write_text(json.dumps({"pid": pid, "host": socket.gethostname(), "since": "x"}))
    assert Library(tmp_path).artifacts()["rl"].state == state


def test_a_manifest_that_cant_be_read_is_named_and_hides_nothing_else(made: Path, tmp_path: Path) -> None:
    run = shutil.copytree(made, tmp_path / "run")
    (run / "rl" / "manifest.json").write_text("{not json")
    found = Library(run).artifacts()
    assert found["rl"].state == "damaged"
    assert "is not a manifest" in found["rl"].trouble
    assert found["sweep"].state == "finished"


def test_an_evaluation_that_still_runs_shows_the_checkpoints_it_has(made: Path, tmp_path: Path) -> None:
    run = shutil.copytree(made / "sweep", tmp_path / "run" / "sweep")
    (run / "scores.json").unlink()
    shutil.rmtree(run / "step-000200")
    sweep = Library(run.parent).series()["sweep/made"]
    assert [s.step for s in sweep.sets] == [50, 100, 150]
    assert sweep.sets[0].entry is None


def test_a_link_that_leads_out_of_the_folder_is_not_followed(made: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    finish(run / "sweep", manifest("eval", "scores"))
    (run / "sweep" / "step-000050").mkdir()
    (run / "sweep" / "step-000050" / "made").symlink_to(made / "sweep" / "step-000050" / "made")
    (run / "elsewhere").symlink_to(made)
    library = Library(run)
    assert library.series() == {}
    assert list(library.artifacts()) == ["sweep"]


def test_a_set_is_stamped_anew_when_its_files_change(made: Path, tmp_path: Path) -> None:
    run = shutil.copytree(made, tmp_path / "run")
    before = Library(run).sets()["sweep/step-000050/made"].stamp
    verdicts = run / "sweep" / "step-000050" / "made" / "verdicts.parquet"
    os.utime(verdicts, (1, 1))
    assert Library(run).sets()["sweep/step-000050/made"].stamp != before
