"""A run killed from outside at random moments continues, and its files are those of an undisturbed run."""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

from tests.kill import data_digests, finish, survive

ROOT = Path(__file__).resolve().parents[2]
RECIPE = """
name: walk
seed: 5
stages:
  problems: {stage: "tests.toys:numbers", n: 50}
  first: {stage: "tests.toys:student", problems: problems, steps: 25, seconds: 0.004}
  second: {stage: "tests.toys:student", model: first, steps: 25, seconds: 0.004}
  scores: {stage: "tests.toys:scores", models: [first, second]}
"""


def test_a_run_killed_twenty_times_ends_with_the_files_of_an_undisturbed_one(tmp_path: Path) -> None:
    (tmp_path / "walk.yaml").write_text(RECIPE)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])}
    command = [sys.executable, "-m", "posttrain", "run", "walk.yaml"]
    seconds = finish([*command, "--runs", "calm"], cwd=tmp_path, env=env)
    expected = data_digests(tmp_path / "calm")
    run = tmp_path / "rough" / "walk"

    def same_files() -> None:
        assert data_digests(tmp_path / "rough") == expected
        left = [p for p in run.rglob("*") if p.name == ".work" or p.suffix == ".tmp"]
        assert left == []

    survive(
        [*command, "--runs", "rough"],
        run,
        cwd=tmp_path,
        env=env,
        kills=20,
        horizon=seconds,
        seed=random.SystemRandom().randrange(2**32),
        check=same_files,
    )
