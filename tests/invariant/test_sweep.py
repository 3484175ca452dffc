"""Claims of the sweep on real weights: a warm engine answers as a fresh one; whatever is killed, nothing is lost or
twice; several processes make the same bytes as one.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.kill import data_digests

from posttrain.evals import read_answers
from posttrain.evals.sweep import read_sweep
from posttrain.pipeline import run_stage
from posttrain.records import problems_to_table
from posttrain.store import Artifact, Manifest, Problems, Scores, write_table

STEPS = (1, 2, 3)
ITEMS, SAMPLES = 8, 2
ASKED = {"max_tokens": 12, "temperature": 1.0, "n": SAMPLES, "block": 4, "batch": 8, "seed": 3}


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with three checkpoints of one shape and different weights, and problems to ask them."""
    from posttrain.data.synthetic import LEVELS, problems
    from posttrain.models import TinyConfig, save_model, tiny_model, train_tokenizer

    root = tmp_path_factory.mktemp("ground")
    asked = problems(1, "test", ITEMS, tuple(LEVELS))
    write_table(root / "problems/problems.parquet", problems_to_table(asked))
    Manifest("data", "problems", "finished", "f", {}, {}, {}, 0, "", digest="d").write(root / "problems")
    tokenizer = train_tokenizer([p.question for p in problems(1, "train", 100, tuple(LEVELS))], 300)
    shape = TinyConfig(hidden=32, layers=2, heads=2, context=512)
    for step in STEPS:
        save_model(tiny_model(tokenizer, shape, seed=step), tokenizer, root / f"rl/checkpoints/step-{step:06d}")
    save_model(tiny_model(tokenizer, shape, seed=9), tokenizer, root / "rl/model")
    (root / "rl/metrics.jsonl").write_text('{"step": 4}\n')
    return root


def swept(ground: Path, out: Path, **config: Any) -> Artifact:
    inputs = {"run": ground / "rl", "problems": Problems(ground / "problems", name="problems")}
    return run_stage("sweep", {**ASKED, **config}, inputs, out, quiet=True)


@pytest.fixture(scope="module")
def calm(ground: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sweep that nobody disturbed, in one process."""
    return swept(ground, tmp_path_factory.mktemp("calm") / "sweep").path


def test_a_warm_engine_answers_as_a_fresh_one(ground: Path, calm: Path, tmp_path: Path) -> None:
    checkpoints = [ground / f"rl/checkpoints/step-{s:06d}" for s in STEPS]
    inputs = {"models": [*map(str, checkpoints), str(ground / "rl/model")], "problems": ground / "problems"}
    fresh = run_stage("eval", {**ASKED, "seed": 3}, inputs, tmp_path / "fresh", quiet=True)
    theirs = [[s.token_ids for s in a.samples] for a in read_answers([Scores(fresh.path)])]
    ours = [[s.token_ids for s in a.samples] for a in read_answers([Scores(calm)])]
    assert ours == theirs
    assert len({tuple(map(tuple, one)) for one in ours}) == 4, "four models, four sets of answers"


PROGRAM = """
import sys
sys.path[:0] = {path!r}
from pathlib import Path
from tests.invariant.test_sweep import swept
swept(Path(sys.argv[1]), Path(sys.argv[2]), shards=int(sys.argv[3]))
"""


def start(ground: Path, out: Path, shards: int) -> subprocess.Popen[bytes]:
    program = PROGRAM.format(path=[p for p in sys.path if p])
    return subprocess.Popen([sys.executable, "-c", program, str(ground), str(out), str(shards)], env=dict(os.environ))


def finished_samples(out: Path) -> int:
    return sum(p.read_bytes().count(b"\n") - 1 for p in (out / ".work").rglob("*.jsonl")) if out.exists() else 0


def assert_whole(out: Path, calm: Path) -> None:
    assert data_digests(out) == data_digests(calm)
    sweep = read_sweep(out)
    for label in sweep.labels:
        keys = [s.key for s in sweep.samples(label, "problems/test")]
        assert len(keys) == len(set(keys)) == ITEMS * SAMPLES
        lines = [json.loads(line) for line in (out / label / "problems-test/traces.jsonl").read_text().splitlines()]
        assert [(row["problem_id"], row["index"]) for row in lines] == keys


def test_killed_in_the_middle_it_goes_on_with_nothing_twice(ground: Path, calm: Path, tmp_path: Path) -> None:
    """One process, killed once it has answered so much; what was finished stays finished."""
    out = tmp_path / "sweep"
    wanted = random.SystemRandom().randrange(5, 3 * ITEMS * SAMPLES)
    print(f"killed after {wanted} samples")
    process = start(ground, out, 1)
    while finished_samples(out) < wanted and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    kept = finished_samples(out)
    swept(ground, out)
    assert kept >= min(wanted, 1)
    assert_whole(out, calm)


def test_two_processes_share_it_and_outlive_no_parent(ground: Path, calm: Path, tmp_path: Path) -> None:
    """The parent alone is killed: its two processes end by themselves, and one process goes on to the same bytes."""
    out = tmp_path / "sweep"
    process = start(ground, out, 2)
    while finished_samples(out) < 3 and process.poll() is None:
        time.sleep(0.005)
    children = _children(process.pid)
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    deadline = time.monotonic() + 20
    while any(map(_alive, children)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(map(_alive, children))
    assert len(children) == 2 or process.returncode == 0
    swept(ground, out)
    assert_whole(out, calm)


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task")
    lists = [p / "children" for p in tasks.iterdir()] if tasks.exists() else []
    return [int(child) for path in lists for child in path.read_text().split()]


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
