"""Every real stage: SIGKILL at random moments changes no bit of the result; a seed decides all of it.

A few kills each; `make evidence` does the same with many (tests/evidence/test_kills.py).
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.kill_stages import STAGES, Lab, lab, metrics, results

KILLS = {"base": 4, "kept": 3, "sft": 4, "sft-tokens": 3, "rl": 4, "scores": 4}


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with lab(tmp_path_factory.mktemp("kill")) as made:
        yield made


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_killed_at_random_moments_ends_with_the_bits_of_an_undisturbed_one(calm: Lab, stage: str) -> None:
    calm.kill(stage, KILLS.get(stage, 2), random.SystemRandom().randrange(2**32))


@pytest.mark.parametrize("where", [".work/.resume-*.tmp", "checkpoints/.step-*.tmp", ".model.*.tmp"])
def test_a_kill_inside_the_write_of_a_state_or_model_leaves_nothing_that_stops_the_next_attempt(
    calm: Lab, where: str
) -> None:
    calm.kill_inside("base", where)


def test_two_runs_with_one_seed_are_identical(calm: Lab) -> None:
    again = calm.run("again")
    for stage in STAGES:
        assert results(again / stage) == results(calm.calm / stage), stage


def test_another_seed_gives_other_results_in_every_stage_that_draws(calm: Lab) -> None:
    other = calm.run("other", "seed=12")
    for stage in STAGES:
        assert results(other / stage)["files"] != results(calm.calm / stage)["files"], stage


def test_learning_rate_zero_in_rl_leaves_every_weight_as_it_was(calm: Lab) -> None:
    calm.copy("zero", "rl", "scores", "report")
    rl = calm.run("zero", "--only", "rl", "rl.optimizer.lr=0") / "rl"
    steps = [row for row in metrics(rl) if "reward" in row]
    assert all(row["updates"] == 2 and row["grad_norm"] > 0 for row in steps)  # there was something to learn from
    assert weights(rl) == weights(calm.calm / "sft")
    assert weights(calm.calm / "rl") != weights(calm.calm / "sft")


def weights(stage: Path) -> bytes:
    return (stage / "model" / "model.safetensors").read_bytes()
