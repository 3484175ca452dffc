"""``posttrain run RECIPE launch=ray`` where it can't: one message and exit code 2."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import yaml


def test_a_cluster_that_is_not_there_ends_with_one_message_and_code_2(
    tmp_path: Path, posttrain: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    recipe = {"name": "r", "stages": {"problems": {"stage": "data", "dataset": "synthetic", "train": 5, "test": 5}}}
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(recipe))
    done = posttrain("run", "r.yaml", "launch=ray", "ray.address=127.0.0.1:1")
    assert done.returncode == 2
    assert done.stderr.startswith("posttrain: no Ray cluster answers at 127.0.0.1:1")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs" / "r" / "problems").exists()
