"""The claim of evaluation from end to end, on the command line: a checkpoint answers GSM8K and MATH-500 of the mirror
several times each, is killed with SIGKILL at random moments, resumed, regraded and compared; nothing is lost or twice.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.kill import data_digests, finish, survive
from tests.kill_stages import seconds_of
from tests.warm import Warm

from posttrain.evals import read_answers
from posttrain.store import Scores

ITEMS, SAMPLES, KILLS = 10, 3, 4
EVAL = (
    *("eval", "benchmarks=[gsm8k,math500]", f"limit={ITEMS}", f"n={SAMPLES}", "temperature=1.0", "max_tokens=32"),
    *("block=4", "batch=8", "seed=3", "--quiet"),
)


def model(folder: Path, seed: int) -> None:
    from posttrain.data.synthetic import LEVELS, problems
    from posttrain.models import TinyConfig, save_model, tiny_model, train_tokenizer

    tokenizer = train_tokenizer([p.question for p in problems(1, "train", 200, tuple(LEVELS))], 400)
    shape = TinyConfig(hidden=64, layers=2, heads=2, context=1024)
    save_model(tiny_model(tokenizer, shape, seed=seed), tokenizer, folder)


def keys(folder: Path) -> dict[str, list[tuple[str, int]]]:
    return {a.benchmark: [s.key for s in a.samples] for a in read_answers([Scores(folder)])}


@pytest.mark.usefixtures("mirror")
def test_an_evaluation_killed_at_random_moments_resumed_regraded_and_compared(
    tmp_path: Path, posttrain: Callable[..., Any]
) -> None:
    for name, seed in (("a", 3), ("b", 4)):
        model(tmp_path / name, seed)
    with Warm(os.environ) as start:
        finish([*EVAL, "models=a", "out=calm"], cwd=tmp_path, env=os.environ, start=start)
        rough = tmp_path / "rough"

        def same() -> None:
            assert data_digests(rough) == data_digests(tmp_path / "calm")

        survive(
            [*EVAL, "models=a", "out=rough"],
            rough,
            cwd=tmp_path,
            env=os.environ,
            kills=KILLS,
            horizon=seconds_of(tmp_path / "calm"),
            seed=random.SystemRandom().randrange(2**32),
            clock=rough / "manifest.json",
            check=same,
            start=start,
        )
        finish(["regrade", "of=rough", "out=again", "--quiet"], cwd=tmp_path, env=os.environ, start=start)
        finish([*EVAL, "models=b", "out=other"], cwd=tmp_path, env=os.environ, start=start)
    for name, found in keys(rough).items():
        assert len(found) == len(set(found)) == ITEMS * SAMPLES, name
    assert Scores(tmp_path / "again").read()["entries"] == Scores(rough).read()["entries"]
    compared = posttrain("compare", "rough", "again", "other", "--json")
    assert compared.returncode == 0, compared.stderr
    pairs = json.loads(compared.stdout)["comparisons"]
    assert {c["benchmark"] for c in pairs} == {"gsm8k", "math500"}
    itself = [c for c in pairs if {c["a"], c["b"]} == {"rough:a", "again:a"}]
    assert [(c["n"], c["difference"], c["p"]) for c in itself] == [(ITEMS, 0.0, 1.0)] * 2
    shown = posttrain("compare", "rough", "other")
    assert shown.returncode == 0, shown.stderr
    assert "pass@2" in shown.stdout


def test_all_checkpoints_that_a_training_stage_kept_are_evaluated(
    tmp_path: Path, posttrain: Callable[..., Any]
) -> None:
    tiny = ("hidden=32", "layers=2", "heads=2", "vocabulary=300", "context=256")
    for command in (
        ("data", "dataset=synthetic", "train=60", "test=12", "levels=[1]", "out=problems"),
        (
            *("pretrain", "corpus=problems", "steps=4", "batch_size=4", "block=32", "checkpoints.every=2", "out=base"),
            *(f"model.{size}" for size in tiny),
        ),
        ("eval", "models=base", "checkpoints=all", "problems=problems", "max_tokens=8", "out=sweep"),
    ):
        done = posttrain(*command, "--quiet")
        assert done.returncode == 0, done.stderr
    entries = Scores(tmp_path / "sweep").read()["entries"]
    assert [(e["model"], e.get("step")) for e in entries][-1] == ("base", None)
    assert {(e["model"], e.get("step")) for e in entries[:-1]} <= {("base@2", 2), ("base@4", 4)}
    assert len(entries) >= 2
    assert len({e["weights"] for e in entries}) >= 2
    wrong = posttrain("eval", "models=base", "checkpoints=[3]", "problems=problems", "out=other")
    assert wrong.returncode == 2
    assert "base has none of step 3. It has 2" in wrong.stderr
