"""Checkpoints as revisions of a Hub repository, against a stand-in that takes pushes.

The Hub's client reads its settings when it is imported, so everything that pushes runs in a process of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.hub.push_stand_in import TakingHub, taking
from tests.unit.training.methods import Room

KEY = "hf_writer"  # planted: it must appear nowhere but in a header
REPO = "someone/student"


@pytest.fixture
def hub() -> Iterator[TakingHub]:
    with taking(TakingHub()) as running:
        yield running


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Room:
    return Room(tmp_path_factory.mktemp("push"))


def cli(hub: TakingHub, *arguments: str, token: str | None = KEY) -> subprocess.CompletedProcess[str]:
    env = {
        **os.environ,
        "HF_ENDPOINT": hub.url,
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_TOKEN": token or "",
    }
    return subprocess.run(
        [sys.executable, "-c", "from posttrain.cli import main; main()", *arguments],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )


def train(hub: TakingHub, room: Room, name: str, token: str | None = KEY) -> tuple[Path, str]:
    """`posttrain sft` with four steps, a checkpoint after every one and a push after every second one."""
    out = room.folder / name
    done = cli(
        hub,
        "sft",
        f"model={room.base}",
        f"traces={_sealed(room)}",
        "steps=4",
        "batch_size=4",
        "checkpoints.every=1",
        f"push={{repo: {REPO}, every: 2}}",
        f"out={out}",
        token=token,
    )
    return out, done.stdout + done.stderr


def _sealed(room: Room) -> Path:
    """The traces as a finished artifact, which the command line asks for."""
    from posttrain.store import Manifest

    if Manifest.read(room.traces.path) is None:
        manifest = Manifest("traces", "samples", "finished", "0", {}, {}, {}, 0, "now")
        manifest.seal(room.traces.path)
        manifest.write(room.traces.path)
    return room.traces.path


def journal(stage: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((stage / ".push.json").read_text())["sent"]
    return told


def nowhere(word: str, folder: Path, said: str) -> bool:
    return word not in said and not any(word.encode() in p.read_bytes() for p in folder.rglob("*") if p.is_file())


def test_checkpoints_become_revisions_with_their_step_and_the_key_is_in_no_file(hub: TakingHub, room: Room) -> None:
    stage, said = train(hub, room, "pushed")
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


def test_a_token_without_write_access_is_said_and_training_goes_on(hub: TakingHub, room: Room) -> None:
    stage, said = train(hub, room, "denied", token="hf_reader_only")
    assert json.loads((stage / "manifest.json").read_text())["status"] == "finished", said
    assert "may not write to someone/student (the Hub answered 403)" in said
    assert "not on the Hub: step-000002, step-000004" in said
    assert nowhere("hf_reader_only", stage, said)
    again = cli(hub, "push", str(stage))  # with the right token
    assert again.returncode == 0, again.stderr
    assert set(hub.branches[REPO]) == {"main", "step-000002", "step-000004"}
    assert all("commit" in facts for facts in journal(stage).values())


def test_a_quota_that_runs_out_is_said_and_the_push_goes_on_where_it_stopped(hub: TakingHub, room: Room) -> None:
    size = (room.base / "model.safetensors").stat().st_size
    hub.quota = size + 1000  # one of two
    stage, said = train(hub, room, "full")
    assert json.loads((stage / "manifest.json").read_text())["status"] == "finished", said
    assert "the storage behind someone/student is full" in said
    assert "storage limit reached" in said
    assert "commit" in journal(stage)["step-000002"]
    assert "commit" not in journal(stage)["step-000004"]
    hub.quota = None
    assert cli(hub, "push", str(stage)).returncode == 0
    assert hub.puts == 2, "what was there already was not sent again"
    assert ("someone/student", "main") in hub.commits


def test_no_token_is_an_error_before_anything_is_trained(hub: TakingHub, room: Room) -> None:
    stage, said = train(hub, room, "tokenless", token=None)
    assert "HF_TOKEN is not set" in said
    assert not (stage / "model").exists()
    assert not (stage / "metrics.jsonl").exists() or not (stage / "metrics.jsonl").read_text()


def test_a_hub_that_is_away_is_said_and_training_goes_on(room: Room) -> None:
    stage, said = train(TakingHub(url="http://127.0.0.1:9"), room, "away")
    assert json.loads((stage / "manifest.json").read_text())["status"] == "finished", said
    assert "can't be reached to push to someone/student" in said
