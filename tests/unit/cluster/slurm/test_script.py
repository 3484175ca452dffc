"""What a job's file does on a node: bash runs it, with the variables that SLURM sets and a `scontrol` of our own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.cluster.slurm.pretend import Pretend

from posttrain.cli import main
from posttrain.cluster.slurm.jobs import ENVIRONMENT, NOT_SHARED, STOPPED
from posttrain.store import Manifest

RUN = Path("runs/walk")
Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start(walk: Path, slurm: Pretend) -> Start:
    """Submits the recipe with overrides, and starts a stage's file as SLURM would start job 7."""
    note = slurm.room / "scontrol"
    note.write_text(f"#!/bin/bash\necho $* >>{slurm.room}/requeued\nexit 1\n")
    note.chmod(0o755)

    def begin(stage: str, *overrides: str, **environment: str) -> subprocess.Popen[bytes]:
        (slurm.room / "queue").unlink(missing_ok=True)  # what was queued before is over
        with pytest.raises(SystemExit) as ended:
            main(["submit", "walk.yaml", "--slurm", *overrides])
        assert not ended.value.code
        return subprocess.Popen(
            ["bash", str(RUN.resolve() / "slurm" / f"{stage}.sbatch")],
            cwd="/",
            env={**os.environ, "SLURM_JOB_ID": "7", **environment},
            stderr=subprocess.PIPE,
        )

    return begin


def ends(job: subprocess.Popen[bytes]) -> int:
    job.communicate(timeout=60)
    return job.returncode


def why(stage: str) -> str:
    return (RUN / "slurm" / "logs" / f"{stage}.why").read_text()


def test_a_job_makes_one_stage_of_the_recipe_as_it_was_submitted(start: Start, walk: Path) -> None:
    first = start("problems")
    walk.write_text("what stands here now is of no interest\n")
    assert ends(first) == 0
    manifest = Manifest.read(RUN / "problems")
    assert manifest is not None
    assert manifest.status == "finished"
    log = (RUN / "slurm" / "logs" / "problems.log").read_text()
    assert "job 7 on" in log
    assert "problems" in log.splitlines()[-1]


def test_an_element_of_an_array_makes_its_own_branch(start: Start) -> None:
    assert ends(start("problems")) == 0
    assert ends(start("student", SLURM_ARRAY_JOB_ID="6", SLURM_ARRAY_TASK_ID="2")) == 0
    assert sorted(path.name for path in RUN.glob("student*")) == ["student--0.3"]
    assert json.loads((RUN / "student--0.3" / "config.json").read_text())["lr"] == 0.3


def test_a_node_that_sees_another_disk_says_so_and_does_nothing(start: Start) -> None:
    assert ends(start("problems", "slurm.storage_seconds=0")) == 0
    for mark in (RUN / "slurm" / "marks").iterdir():
        mark.unlink()
    again = subprocess.run(
        ["bash", str(RUN.resolve() / "slurm" / "problems.sbatch")],
        env={**os.environ, "SLURM_JOB_ID": "8"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert again.returncode == NOT_SHARED
    assert "storage is not shared" in again.stderr
    assert "job 8" not in (RUN / "slurm" / "logs" / "problems.log").read_text()


def test_a_node_without_the_environment_says_which_interpreter_lacks_what(start: Start, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.write_text("#!/bin/bash\necho \"ModuleNotFoundError: No module named 'posttrain'\" >&2\nexit 1\n")
    bare.chmod(0o755)
    assert ends(start("problems", f"slurm.python={bare}")) == ENVIRONMENT
    assert f"can't import posttrain with {bare}: ModuleNotFoundError" in why("problems")
    assert ends(start("problems", f"slurm.venv={tmp_path}/none")) == ENVIRONMENT


def test_a_module_that_can_not_be_loaded_is_the_environments_fault(start: Start) -> None:
    assert ends(start("problems", "slurm.modules=[cuda/99]")) == ENVIRONMENT
    assert "module load cuda/99 failed" in why("problems")


def test_an_error_for_the_user_stands_where_status_reads_it(start: Start) -> None:
    assert ends(start("problems")) == 0
    assert ends(start("student", "student.fail_at=2", SLURM_ARRAY_JOB_ID="6", SLURM_ARRAY_TASK_ID="0")) == 2
    assert "TrainingError: the loss is NaN at step 2. Lower the learning rate." in why("student--0.1")


def test_near_its_limit_a_stage_stops_goes_back_into_the_queue_and_continues(start: Start, slurm: Pretend) -> None:
    """The signal comes once three steps are done; the same file, started again, does the rest and only that."""
    assert ends(start("problems")) == 0
    element = {"SLURM_ARRAY_JOB_ID": "6", "SLURM_ARRAY_TASK_ID": "1"}
    job = start("student", "student.seconds=0.05", "student.steps=2000", **element)
    metrics = RUN / "student--0.2" / "metrics.jsonl"
    while not metrics.exists() or metrics.read_text().count("\n") < 3:
        time.sleep(0.02)
        assert job.poll() is None
    job.send_signal(signal.SIGUSR1)
    assert ends(job) == STOPPED  # scontrol, which refuses here, was asked for this element and no other
    assert (slurm.room / "requeued").read_text() == "requeue 6_1\n"
    assert "could not go back into the queue" in why("student--0.2")
    stopped = Manifest.read(RUN / "student--0.2")
    assert stopped is not None
    assert stopped.status == "running"
    done = json.loads((RUN / "student--0.2" / ".work" / "state.json").read_text())["step"]
    assert 3 <= done < 2000


def test_a_job_that_came_back_too_often_stays_out(start: Start, slurm: Pretend) -> None:
    assert ends(start("problems")) == 0
    element = {"SLURM_ARRAY_JOB_ID": "6", "SLURM_ARRAY_TASK_ID": "1", "SLURM_RESTART_COUNT": "2"}
    job = start("student", "student.seconds=0.05", "student.steps=2000", "slurm.requeues=2", **element)
    while not (RUN / "student--0.2" / "metrics.jsonl").exists():
        time.sleep(0.02)
    job.send_signal(signal.SIGUSR1)
    assert ends(job) == STOPPED
    assert not (slurm.room / "requeued").exists()
    assert "the time limit came 3 times" in why("student--0.2")
