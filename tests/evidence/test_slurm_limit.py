"""The quickstart as jobs of a real SLURM, one of which reaches its limit: minutes of waiting, by SLURM's own clock."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.integration.test_slurm import config, finished, good, here, logs, told, until

from posttrain.pipeline import build_graph, load_recipe, run_graph
from posttrain.store import Manifest

pytestmark = pytest.mark.evidence
Posttrain = Callable[..., "subprocess.CompletedProcess[str]"]
__all__ = ["config", "here"]  # fixtures


def test_the_quickstart_as_jobs_has_the_numbers_of_a_local_run_though_one_reaches_its_limit(
    here: Path, posttrain: Posttrain
) -> None:
    """The limit is set when `base` has saved a first state, so that no slow machine meets it earlier; SLURM looks at
    limits every 30 s, and until then the stage stands still. Its next attempt may take long again."""
    changes = ["base.steps=150", "base.save_every=10"]
    limit = "slurm.stages={base: {time: '60', signal: 150}}"
    run = here / "runs" / "quickstart-smoke"
    good(posttrain("submit", "quickstart", "--slurm", "--smoke", *changes, limit))
    assert len(told(run)) == 9
    while not list((run / "base" / ".work").glob("resume-*")):
        time.sleep(0.01)
    worker = json.loads((run / "base" / ".lock").read_text())["pid"]
    os.kill(worker, signal.SIGSTOP)
    job = str(told(run)["base"].job)
    used = subprocess.check_output(["squeue", "--noheader", f"--jobs={job}", "--Format=TimeUsed"], text=True)
    subprocess.run(["scontrol", "update", f"JobId={job}", f"TimeLimit={int(used.split(':')[0]) + 2}"], check=True)
    result = run_graph(  # meanwhile
        build_graph(load_recipe("quickstart", changes, smoke=True)), here / "local", quiet=True, say=lambda line: None
    )
    assert len(result.made) == 9
    log = run / "slurm" / "logs" / "base.log"
    while "the time limit is near" not in log.read_text():
        time.sleep(0.05)
    os.kill(worker, signal.SIGCONT)
    while "back into the queue" not in log.read_text():
        time.sleep(0.05)
    while told(run)["base"].state == "running" and "attempt 2" not in log.read_text():
        time.sleep(0.05)
    subprocess.run(["scontrol", "update", f"JobId={job}", "TimeLimit=60"], check=True)
    assert finished(until(run, finished)), logs(run)
    base = Manifest.read(run / "base")
    assert base is not None
    assert base.attempts >= 2
    assert "attempt 2" in log.read_text()
    for name in ("scores/scores.json", "rl/model/model.safetensors"):
        assert (run / name).read_bytes() == (here / "local" / name).read_bytes(), name
    good(posttrain("submit", "quickstart", "--slurm", "--smoke", *changes, limit))
    assert len(json.loads((run / "slurm" / "jobs.json").read_text())["jobs"]) == 9
