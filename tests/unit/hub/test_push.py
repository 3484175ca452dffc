"""Checkpoints as revisions of a Hub repository, against a stand-in that takes pushes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.hub.push_stand_in import TakingHub, taking
from tests.unit.training.methods import Room

from posttrain.cli import main
from posttrain.hub.push import PushError
from posttrain.pipeline import run_stage

# The client's own way of sending a file; of its HTTP library's making.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
KEY = "hf_writer"  # planted: it must appear nowhere but in a header
REPO = "someone/student"
Train = Callable[..., tuple[Path, str]]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[TakingHub]:
    with taking(TakingHub()) as running:
        online(monkeypatch, running.url)
        yield running


def online(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """The Hub's client as its variables would set it up, had they been there when it was imported."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
    monkeypatch.setenv("HF_ENDPOINT", url)
    monkeypatch.setenv("HF_TOKEN", KEY)


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Room:
    return Room(tmp_path_factory.mktemp("push"))


@pytest.fixture
def train(room: Room, capfd: pytest.CaptureFixture[str]) -> Train:
    """Four steps of `sft`, a checkpoint after every one and a push after every second one; (folder, what was said)."""

    def run(name: str) -> tuple[Path, str]:
        config = {"steps": 4, "batch_size": 4, "checkpoints": {"every": 1}, "push": {"repo": REPO, "every": 2}}
        inputs = {"model": room.base, "traces": room.traces}
        try:
            run_stage("sft", config, inputs, room.folder / name)  # type: ignore[arg-type]
        except PushError as error:
            print(error)
        told = capfd.readouterr()
        return room.folder / name, told.out + told.err

    return run


def push(stage: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["push", str(stage)])
    assert ended.value.code == 0


def journal(stage: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((stage / ".push.json").read_text())["sent"]
    return told


def nowhere(word: str, folder: Path, said: str) -> bool:
    return word not in said and not any(word.encode() in p.read_bytes() for p in folder.rglob("*") if p.is_file())


def test_checkpoints_become_revisions_with_their_step_and_the_key_is_in_no_file(hub: TakingHub, train: Train) -> None:
    stage, said = train("pushed")
    assert (stage / "manifest.json").is_file(), said
    branches = hub.branches[REPO]
    assert set(branches) == {"main", "step-000002", "step-000004"}
    assert (
        branches["step-000002"]["model.safetensors"]
        == (stage / "checkpoints" / "step-000002" / "model.safetensors").read_bytes()
    )
    last = (stage / "model" / "model.safetensors").read_bytes()
    assert branches["main"]["model.safetensors"] == branches["step-000004"]["model.safetensors"] == last
    assert json.loads(branches["step-000002"]["posttrain.json"])["step"] == 2
    assert hub.authorisations == {f"Bearer {KEY}"}
    assert hub.puts == 2, "the same bytes are sent once, for both branches"
    assert nowhere(KEY, stage, said)


def test_a_token_without_write_access_is_said_and_training_goes_on(
    hub: TakingHub, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_reader_only")
    stage, said = train("denied")
    assert json.loads((stage / "manifest.json").read_text())["status"] == "finished", said
    assert "may not write to someone/student (the Hub answered 403)" in said
    assert "not on the Hub: step-000002, step-000004" in said
    assert nowhere("hf_reader_only", stage, said)
    monkeypatch.setenv("HF_TOKEN", KEY)
    push(stage)
    assert set(hub.branches[REPO]) == {"main", "step-000002", "step-000004"}
    assert all("commit" in facts for facts in journal(stage).values())


def test_a_quota_that_runs_out_is_said_and_the_push_goes_on_where_it_stopped(
    hub: TakingHub, train: Train, room: Room
) -> None:
    size = (room.base / "model.safetensors").stat().st_size
    hub.quota = size + 1000  # one of two
    stage, said = train("full")
    assert json.loads((stage / "manifest.json").read_text())["status"] == "finished", said
    assert "the storage behind someone/student is full" in said
    assert "storage limit reached" in said
    assert "commit" in journal(stage)["step-000002"]
    assert "commit" not in journal(stage)["step-000004"]
    hub.quota = None
    push(stage)
    assert hub.puts == 2, "what was there already was not sent again"
    assert ("someone/student", "main") in hub.commits


def test_no_token_is_an_error_before_anything_is_trained(
    hub: TakingHub, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    stage, said = train("tokenless")
    assert "HF_TOKEN is not set" in said
    assert not (stage / "model").exists()
    assert not (stage / "metrics.jsonl").exists() or not (stage / "metrics.jsonl").read_text()


def test_a_hub_that_is_away_is_said_and_training_goes_on(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    online(monkeypatch, "http://127.0.0.1:9")
    stage, said = train("away")
    assert json.loads((stage / "manifest.json").read_text())["status"] == "finished", said
    assert "can't be reached to push to someone/student" in said
