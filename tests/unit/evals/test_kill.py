"""SIGKILL from outside, at moments drawn at random, in the middle of an evaluation."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

PROGRAM = """
import sys, time
from pathlib import Path
from tests.unit.evals.fakes import CharTokenizer, ScriptedEngine, right
from posttrain.evals import EvalConfig, engines
from posttrain.evals.stages import evaluate
from posttrain.stage import Workspace
from posttrain.store import Checkpoint, Problems

def slow(problem_id, index):
    time.sleep(0.002)
    return right(problem_id, index) if index else "no idea"

engines.open_engine = lambda *_, **__: (ScriptedEngine(slow), CharTokenizer())
root = Path(sys.argv[1])
config = EvalConfig(template="plain", max_tokens=40, n=4, temperature=1.0, block=8)
models = [Checkpoint(root / "model", name="model")]
evaluate(config, models, Workspace(Path(sys.argv[2]), seed=7, quiet=True), Problems(root / "problems", name="sums"))
"""
FILES = ("scores.json", "model/sums-test/samples.parquet", "model/sums-test/verdicts.parquet")
SAMPLES = 40 * 4


def start(root: Path, folder: Path) -> subprocess.Popen[bytes]:
    search = os.pathsep.join(p for p in sys.path if p)
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(root), str(folder)], env={**os.environ, "PYTHONPATH": search}
    )


def test_killed_at_random_moments_no_sample_is_lost_and_the_bytes_are_the_same(
    tmp_path: Path, problems: object
) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    draw = random.Random(seed)
    (tmp_path / "model").mkdir()
    assert start(tmp_path, tmp_path / "whole").wait(120) == 0
    broken = tmp_path / "broken"
    journal = broken / ".work/model/sums-test.jsonl"
    kept = 0
    for moment in sorted(draw.sample(range(1, SAMPLES), 3)):
        process = start(tmp_path, broken)
        while process.poll() is None and lines(journal) <= moment:
            time.sleep(0.001)
        time.sleep(draw.random() * 0.002)
        process.send_signal(signal.SIGKILL)
        process.wait(120)
        assert lines(journal) >= kept  # what was finished stays
        kept = lines(journal)
    assert start(tmp_path, broken).wait(120) == 0
    for name in FILES:
        assert (broken / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0
