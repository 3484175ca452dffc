"""Several processes train one model: the gradients, losses and weights of one process, and what happens when one dies.

All on the CPU over gloo; each test starts its second rank as a real process.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.conftest import ROOT
from tests.unit.training.methods import Room, column, summary
from tests.unit.training.rank_targets import dies, gradients, rl_gradients

from posttrain.config import parse
from posttrain.errors import MissingExtraError, RecipeError, TrainingError
from posttrain.models import load_model
from posttrain.preference.config import DPOConfig
from posttrain.rl.config import RLConfig
from posttrain.sft.config import SFTConfig
from posttrain.stage import Workspace
from posttrain.store import write_json
from posttrain.training.checkpoint import PREFIX
from posttrain.training.config import LaunchConfig, TrainingConfig
from posttrain.training.distributed import Ranks
from posttrain.training.launch import launched, rendezvous
from posttrain.training.rank import follow

TARGETS = "tests.unit.training.rank_targets"


@pytest.fixture(autouse=True)
def _ranks_find_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])))


def config(**launch: Any) -> TrainingConfig:
    return TrainingConfig.model_validate({"token_budget": 40, "launch": {"processes": 2, **launch}})


class EndedError(Exception):
    """Training was stopped by a test."""


@contextlib.contextmanager
def interrupted_after(steps: int) -> Iterator[None]:
    """What trains in here ends after so many steps, in the middle of things."""
    from posttrain.training import keeper

    def stopped(self: object, done: int) -> bool:
        if done == steps:
            raise EndedError
        return False

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keeper.Keeper, "stopped", stopped)
        with pytest.raises(EndedError):
            yield


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


Target = Callable[[Any, Workspace, Ranks], dict[str, torch.Tensor]]


def of_two_ranks(folder: Path, settings: TrainingConfig, target: Target = gradients) -> dict[str, torch.Tensor]:
    work = Workspace(folder, quiet=True, device="cpu")
    with launched(settings, f"{TARGETS}:{target.__name__}", {}, work) as ranks:
        return target(settings, work, ranks)


def assert_equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert (found[name] - gradient).norm() <= 1e-5 * gradient.norm(), name


def test_the_gradient_of_two_ranks_is_that_of_one_ddp(tmp_path: Path) -> None:
    one = gradients(config(), Workspace(tmp_path / "one", quiet=True), Ranks())
    assert_equal(of_two_ranks(tmp_path, config()), one)


@pytest.mark.real
@pytest.mark.parametrize("offload", [False, True])
def test_the_gradient_of_two_ranks_is_that_of_one_fsdp2(tmp_path: Path, offload: bool) -> None:
    one = gradients(config(), Workspace(tmp_path / "one", quiet=True), Ranks())
    assert_equal(of_two_ranks(tmp_path, config(strategy="fsdp2", offload=offload)), one)


@pytest.mark.parametrize("strategy", ["ddp", pytest.param("fsdp2", marks=pytest.mark.real)])
def test_the_gradient_of_reinforcement_learning_in_two_ranks_is_that_of_one(tmp_path: Path, strategy: str) -> None:
    """Groups go to a rank as a whole; denominators and the distance to the reference are those of the batch."""
    values = {"prompts": 5, "group": 3, "max_tokens": 16, "kl": 0.1, "token_budget": 40, "aggregation": "sequence_mean"}
    settings = RLConfig.model_validate({**values, "launch": {"processes": 2, "strategy": strategy}})
    one = rl_gradients(RLConfig.model_validate(values), Workspace(tmp_path / "one", quiet=True), Ranks())
    assert_equal(of_two_ranks(tmp_path, settings, rl_gradients), one)


@pytest.mark.real
@pytest.mark.parametrize("strategy", ["zero2", "zero3"])
def test_two_ranks_of_deepspeed_train_as_one_process(tmp_path: Path, strategy: str) -> None:
    if importlib.util.find_spec("deepspeed") is None:
        pytest.skip("DeepSpeed is not installed: pip install 'posttrain[deepspeed]' (it compiles an operator, minutes)")
    room = Room(tmp_path)
    one = room.sft("one", steps=20)
    two = room.sft("two", steps=20, launch={"processes": 2, "strategy": strategy})
    assert column(two, "loss") == pytest.approx(column(one, "loss"), rel=1e-5)


def test_twenty_steps_in_two_processes_have_the_losses_of_one(tmp_path: Path) -> None:
    room = Room(tmp_path)
    one, two = room.sft("one", steps=20), room.sft("two", steps=20, launch={"processes": 2})
    assert column(two, "loss") == pytest.approx(column(one, "loss"), rel=1e-5)
    assert column(two, "tokens") == column(one, "tokens")
    assert summary(two)["tokens"] == summary(one)["tokens"]


@pytest.mark.real
@pytest.mark.parametrize("more", [{}, {"lora": {"rank": 4}}, {"gradient_checkpointing": True}])
def test_twenty_steps_in_parts_have_the_losses_and_weights_of_one_process(tmp_path: Path, more: dict[str, Any]) -> None:
    room = Room(tmp_path)
    one = room.sft("one", steps=20, **more)
    two = room.sft("two", steps=20, **more, launch={"processes": 2, "strategy": "fsdp2"}, checkpoints={"every": 10})
    assert column(two, "loss") == pytest.approx(column(one, "loss"), rel=1e-5)
    mine, theirs = load_model(two / "model").state_dict(), load_model(one / "model").state_dict()
    for name in theirs:
        assert torch.allclose(mine[name], theirs[name], atol=1e-4), name
    assert (two / "checkpoints" / "step-000010").is_dir()


@pytest.mark.real
def test_a_state_is_continued_by_another_number_of_ranks(tmp_path: Path) -> None:
    """2 ranks in parts, interrupted by one that dies; 1 process goes on, and ends as if nothing had happened."""
    room = Room(tmp_path)
    calm = room.sft("calm", steps=8)
    launch = {"processes": 2, "strategy": "fsdp2"}
    parts = room.folder / "parts"

    with interrupted_after(5):
        room.sft("parts", steps=8, save_every=1, launch=launch)
    assert [p.name for p in (parts / ".work").glob(f"{PREFIX}*")] == [f"{PREFIX}00000004"]
    room.sft("parts", steps=8, save_every=1)
    assert column(parts, "loss") == pytest.approx(column(calm, "loss"), rel=1e-5)


def test_a_rank_that_dies_ends_training_with_its_last_words(tmp_path: Path) -> None:
    work = Workspace(tmp_path, quiet=True, device="cpu")
    with (
        pytest.raises(TrainingError, match=r"rank 1 ended with exit status 9.*\n.*about to die"),
        launched(config(), f"{TARGETS}:dies", {}, work) as ranks,
    ):
        dies(config(), work, ranks)
    assert not torch.distributed.is_initialized()
    assert "RANK" not in os.environ


def test_several_machines_need_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MASTER_ADDR", "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    work = Workspace(tmp_path, quiet=True, device="cpu")
    with pytest.raises(RecipeError, match="MASTER_ADDR"), launched(config(nodes=2), f"{TARGETS}:dies", {}, work):
        pass


@pytest.mark.parametrize(
    ("library", "strategy", "said"),
    [("accelerate", "ddp", r"posttrain\[distributed\]"), ("deepspeed", "zero3", r"posttrain\[deepspeed\]")],
)
def test_a_library_that_is_not_installed_is_named_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str, strategy: str, said: str
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == library else found(name))
    work = Workspace(tmp_path, quiet=True, device="cpu")
    with pytest.raises(MissingExtraError, match=said), launched(config(strategy=strategy), f"{TARGETS}:dies", {}, work):
        pass
    assert not list(tmp_path.rglob("*.log"))


def follower(stage: Path, log: Path) -> subprocess.Popen[bytes]:
    """The second machine: it may be there before the first one."""
    command = [sys.executable, "-m", "posttrain.training.rank", str(stage / ".work" / "launch.json"), "1"]
    with log.open("ab") as out:
        return subprocess.Popen(command, stdout=out, stderr=out)


@pytest.mark.parametrize(
    "strategy",
    [pytest.param("ddp", marks=pytest.mark.real), pytest.param("fsdp2", marks=pytest.mark.evidence)],
)
def test_two_machines_have_the_losses_of_one_process_and_go_on_after_an_interruption(
    tmp_path: Path, strategy: str
) -> None:
    """Two 'machines' of one process each meet on this one. The first one's process outlives its interrupted attempt."""
    room = Room(tmp_path)
    calm = room.sft("calm", steps=20)
    launch = {"nodes": 2, "strategy": strategy, "address": "127.0.0.1", "port": free_port()}

    second = follower(room.folder / "two", tmp_path / "log")
    with interrupted_after(5):
        room.sft("two", steps=20, save_every=1, launch=launch)
    assert second.wait(60) != 0
    second = follower(room.folder / "two", tmp_path / "log")
    room.sft("two", steps=20, save_every=1, launch=launch)
    assert second.wait(60) == 0, (tmp_path / "log").read_text()
    assert column(room.folder / "two", "loss") == pytest.approx(column(calm, "loss"), rel=1e-5)


def test_a_machine_that_does_not_come_is_named_with_what_to_start_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("posttrain.training.launch.JOINING", 0.0)
    work = Workspace(tmp_path, quiet=True, device="cpu")
    settings = config(processes=1, nodes=2, address="127.0.0.1")
    with (
        pytest.raises(TrainingError, match=r"machine 1 of launch.nodes 2 did not come.*launch.json 1"),
        launched(settings, f"{TARGETS}:dies", {}, work),
    ):
        pass


def test_a_machine_that_finds_nothing_to_join_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("posttrain.training.rank.JOINING", 0.0)
    with pytest.raises(TrainingError, match="found nothing to join"):
        follow(tmp_path, 1)


def test_a_machine_whose_first_one_gave_up_joins_its_next_attempt_or_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ranks of attempt "a" wait for ever, and those of "b" end at once."""
    job_file = tmp_path / ".work" / "launch.json"
    job_file.parent.mkdir()

    def write(attempt: str) -> None:
        write_json(job_file, {"attempt": attempt, "config": {"launch": {"nodes": 2}}})

    def started(job: dict[str, Any], *_: object) -> dict[int, subprocess.Popen[bytes]]:
        job_file.unlink()  # the first machine gives this attempt up
        return {1: subprocess.Popen(["sleep", "600" if job["attempt"] == "a" else "0"])}

    def begins_again(seconds: float) -> None:
        if not job_file.exists():
            write("b")

    monkeypatch.setattr("posttrain.training.rank.start_ranks", started)
    with monkeypatch.context() as patch:
        patch.setattr("posttrain.training.rank.time.sleep", begins_again)
        write("a")
        assert follow(tmp_path, 1) == 0
    monkeypatch.setattr("posttrain.training.rank.GRACE", 0.0)
    write("a")
    with pytest.raises(TrainingError, match="the first machine ended this attempt"):
        follow(tmp_path, 1)


def test_a_machine_that_comes_when_all_is_done_has_nothing_to_do(tmp_path: Path) -> None:
    room = Room(tmp_path)
    assert follow(room.sft("one", steps=1), 1) == 0


@pytest.mark.parametrize(
    ("launch", "environment", "expected"),
    [
        ({"address": "a", "port": 5}, {"MASTER_ADDR": "b", "MASTER_PORT": "6"}, ("a", 5)),
        ({}, {"MASTER_ADDR": "b", "MASTER_PORT": "6"}, ("b", 6)),
        ({}, {"MASTER_ADDR": "b"}, ("b", 29500)),
        ({}, {"SLURM_JOB_ID": "40007", "SLURMD_NODENAME": "n1"}, ("n1", 20007)),
    ],
)
def test_where_machines_meet_is_told_by_the_block_or_torchruns_variables_or_slurms(
    launch: dict[str, Any], environment: dict[str, str], expected: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MASTER_ADDR", "MASTER_PORT", "SLURM_JOB_ID", "SLURMD_NODENAME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert rendezvous(LaunchConfig(nodes=2, **launch)) == expected


@pytest.mark.parametrize(
    ("schema", "values", "said"),
    [
        (SFTConfig, {"steps": 1, "batch_size": 3}, "batch_size is 3"),
        (RLConfig, {"prompts": 3}, "prompts is 3"),
        (DPOConfig, {"steps": 1, "batch_size": 3}, "batch_size is 3"),
    ],
)
def test_more_processes_than_there_is_to_share_of_a_step_are_refused(
    schema: type[TrainingConfig], values: dict[str, Any], said: str
) -> None:
    with pytest.raises(RecipeError, match=rf"launch asks for 4 processes \(processes 2 × nodes 2\) and {said}"):
        parse(schema, {**values, "launch": {"processes": 2, "nodes": 2}}, "stage 'x'")


def test_a_batch_that_does_not_divide_is_dealt_out_unevenly_and_its_gradient_is_the_same(tmp_path: Path) -> None:
    """Seven sequences on three ranks: three, two and two."""
    one = gradients(config(), Workspace(tmp_path / "one", quiet=True), Ranks())
    assert_equal(of_two_ranks(tmp_path, config(processes=3)), one)
