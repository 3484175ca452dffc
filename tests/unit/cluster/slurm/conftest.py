from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.conftest import ROOT
from tests.unit.cluster.slurm.pretend import Pretend

RECIPE = """\
name: walk
matrix: {lr: [0.1, 0.2, 0.3]}
stages:
  problems: {stage: "tests.toys:numbers"}
  student: {stage: "tests.toys:student", problems: problems, optimizer: {lr: "{lr}"}}
  second: {stage: "tests.toys:student", model: student}
  scores: {stage: "tests.toys:scores", models: [student, second]}
slurm:
  partition: gpu
  time: "4:00:00"
  stages:
    student: {gpus: 2, memory: 32G, parallel: 2}
"""


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])))


@pytest.fixture
def walk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe with a matrix, in the folder that the test stands in."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "walk.yaml"
    path.write_text(RECIPE)
    return path


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pretend:
    pretend = Pretend(tmp_path / "pretend")
    monkeypatch.setenv("PATH", pretend.path)
    return pretend
