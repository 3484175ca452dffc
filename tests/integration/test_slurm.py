"""Recipes on a real SLURM of one node: the same numbers as here, limits, refusals, machines that lack something."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import ROOT
from tests.slurm_cluster import missing, running

from posttrain.cluster.slurm.status import NodeStatus, status_of
from posttrain.store import Manifest

pytestmark = pytest.mark.real
Posttrain = Callable[..., "subprocess.CompletedProcess[str]"]
WALK = """\
name: walk
matrix: {lr: [0.1, 0.2]}
stages:
  problems: {stage: "tests.toys:numbers"}
  student: {stage: "tests.toys:student", problems: problems, optimizer: {lr: "{lr}"}}
  second: {stage: "tests.toys:student", model: student}
  scores: {stage: "tests.toys:scores", models: [student, second]}
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    if why := missing():
        pytest.skip(why)
    with running(tmp_path_factory.mktemp("slurm") / "room") as path:
        yield path


@pytest.fixture
def here(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a recipe, from which SLURM is reached."""
    monkeypatch.setenv("SLURM_CONF", str(config))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "walk.yaml").write_text(WALK)
    return tmp_path


def good(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout


def told(run: Path) -> dict[str, NodeStatus]:
    stages, trouble = status_of(run)
    assert trouble == ""
    return {one.name: one for one in stages}


def until(run: Path, done: Callable[[dict[str, NodeStatus]], bool]) -> dict[str, NodeStatus]:
    """Looks at the run until `done`, or no stage waits or runs any more."""
    while True:
        now = told(run)
        if done(now) or not any(one.state in ("waiting", "running") for one in now.values()):
            return now
        time.sleep(0.2)


def finished(now: dict[str, NodeStatus]) -> bool:
    return all(one.state == "finished" for one in now.values())


def logs(run: Path) -> str:
    return "\n".join(f"== {path.name}\n{path.read_text()}" for path in (run / "slurm" / "logs").glob("*.log"))


def test_a_matrix_is_an_array_and_a_killed_element_goes_on_when_submitted_again(
    here: Path, posttrain: Posttrain
) -> None:
    run = here / "runs" / "walk"
    slow = ["student.steps=60", "student.seconds=0.05"]
    good(posttrain("submit", "walk.yaml", "--slurm", *slow))
    state = run / "student--0.2" / ".work" / "state.json"
    while not state.exists():
        time.sleep(0.02)
    os.kill(json.loads((run / "student--0.2" / ".lock").read_text())["pid"], signal.SIGKILL)
    now = until(run, lambda now: now["student--0.2"].state == "failed" and now["scores"].state == "failed")
    assert now["student--0.1"].state == "finished"
    assert "never started" in now["second--0.2"].detail
    assert "student--0.1: queued" not in good(posttrain("submit", "walk.yaml", "--slurm", *slow))
    assert finished(until(run, finished)), logs(run)
    killed = Manifest.read(run / "student--0.2")
    assert killed is not None
    assert killed.attempts == 2
    lines = (run / "student--0.2" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [*range(1, 61)]


def test_a_node_that_lacks_the_environment_or_the_disk_says_so_before_any_work(
    here: Path, posttrain: Posttrain
) -> None:
    """The disk that is not shared: the submitting machine's file is taken away while the job is held."""
    good(posttrain("submit", "walk.yaml", "--slurm", "name=bare", "slurm.venv=none"))
    now = until(here / "runs" / "bare", lambda now: all(one.state == "failed" for one in now.values()))
    assert f"can't import posttrain with {here}/none/bin/python" in now["problems"].detail
    assert "never started" in now["scores"].detail

    run = here / "runs" / "far"
    options = ["--only", "problems", "name=far", "slurm.extra=[--hold]", "slurm.storage_seconds=1"]
    good(posttrain("submit", "walk.yaml", "--slurm", *options))
    assert "scontrol release" in told(run)["problems"].detail
    for mark in (run / "slurm" / "marks").iterdir():
        mark.unlink()
    subprocess.run(["scontrol", "release", str(told(run)["problems"].job)], check=True)
    now = until(run, lambda now: now["problems"].state == "failed")
    assert "storage is not shared" in now["problems"].detail
    assert not (run / "problems").exists()


def test_what_slurm_refuses_is_refused_with_its_words_and_nothing_is_queued(
    here: Path, posttrain: Posttrain, config: Path
) -> None:
    def refused(*words: str, **environment: str) -> str:
        done = posttrain("submit", "walk.yaml", "--slurm", *words, **environment)
        assert done.returncode == 2, done.stderr
        return done.stderr

    assert "no partition 'debgu'. Did you mean 'debug'" in refused("--partition", "debgu")
    assert "Requested node configuration is not available" in (said := refused("--cpus", "4000"))
    assert "sinfo --format" in said
    closed = here / "closed.conf"
    closed.write_text(config.read_text().replace("SlurmctldPort=", "SlurmctldPort=1 #"))
    assert "controller can't be reached" in refused(SLURM_CONF=str(closed))
    assert not (here / "runs" / "walk" / "slurm" / "jobs.json").exists()


def test_a_stage_of_several_processes_joins_them_in_its_job(here: Path, posttrain: Posttrain) -> None:
    """`launch` in a job: two ranks of one node."""
    recipe: dict[str, Any] = {
        "name": "two",
        "stages": {
            "text": {"stage": "data", "dataset": "synthetic-text", "train": 50},
            "base": {
                "stage": "pretrain",
                "corpus": "text",
                "steps": 3,
                "batch_size": 4,
                "model": {"hidden": 16, "layers": 1, "heads": 2, "vocabulary": 300},
                "launch": {"processes": 2},
            },
        },
    }
    (here / "two.yaml").write_text(json.dumps(recipe))
    good(posttrain("submit", "two.yaml", "--slurm", "--cpus", "1"))
    run = here / "runs" / "two"
    assert finished(until(run, finished)), logs(run)
    assert "--cpus-per-task=2" in (run / "slurm" / "base.sbatch").read_text()
