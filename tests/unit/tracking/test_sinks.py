"""Trackers behind `Metrics.log`: the real libraries write real files, without a network and without secrets."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from posttrain.errors import MissingExtraError, RecipeError
from posttrain.tracking import SINKS, Metrics, open_sinks

PLANTED = "planted0secret1planted2secret3planted4secret5"

LOG = """
import sys
from pathlib import Path
from posttrain.tracking import Metrics, open_sinks

folder, names = Path(sys.argv[1]), sys.argv[2].split(",")
with Metrics(folder / "metrics.jsonl", open_sinks(names, run="quickstart/sft", folder=folder / "curves")) as metrics:
    for step in range(5):
        metrics.log(step, loss=1.0 - step / 8, note="text")
    metrics.rewind(2)
    metrics.log(3, loss=0.5)
"""


def needs(library: str) -> pytest.MarkDecorator:
    missing = importlib.util.find_spec(library) is None
    return pytest.mark.skipif(missing, reason=f"{library} is not installed: pip install 'posttrain[{library}]'")


def log_in_a_process(folder: Path, names: str, **environment: str) -> None:
    """A process of its own: trackers start threads, servers and atexit hooks."""
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LOG, str(folder), names],
        env={**os.environ, **environment},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr


@needs("tensorboard")
def test_tensorboard_reads_back_what_was_logged_and_hides_what_a_resume_repeated(tmp_path: Path) -> None:
    log_in_a_process(tmp_path, "tensorboard")
    read = """
import sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator(sys.argv[1])
events.Reload()
print([(e.step, e.value) for e in events.Scalars("loss")], events.Tags()["scalars"])
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", read, str(tmp_path / "curves" / "tensorboard")],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout.strip() == "[(0, 1.0), (1, 0.875), (2, 0.75), (3, 0.5)] ['loss']"


@needs("wandb")
def test_wandb_offline_records_every_number_and_keeps_the_runs_id(tmp_path: Path) -> None:
    log_in_a_process(tmp_path, "wandb", WANDB_MODE="offline")
    log_in_a_process(tmp_path, "wandb", WANDB_MODE="offline")  # a resumed stage: the same run
    folder = tmp_path / "curves" / "wandb"
    identity = (folder / "id").read_text()
    files = sorted(folder.rglob("run-*.wandb"))
    assert files
    assert {file.stem for file in files} == {f"run-{identity}"}
    steps = [row["step"] for row in _history(files[0])]
    assert steps == [0, 1, 2, 3, 4, 3]
    assert _history(files[0])[1] == {"step": 1, "loss": 0.875}


def _history(file: Path) -> list[dict[str, float]]:
    """The logged rows of a .wandb file."""
    from wandb.proto import wandb_internal_pb2

    rows = []
    for data in _leveldb_log(file.read_bytes()[7:]):  # after the file's own header
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        if record.HasField("history"):
            items = {"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in record.history.item}
            rows.append({key: value for key, value in items.items() if not key.startswith("_")})
    return rows


def _leveldb_log(data: bytes) -> Iterator[bytes]:
    """Records of LevelDB's log format: blocks of 32 KiB, each piece crc (4), length (2), type (1: full, 2-4: parts)."""
    position, parts = 0, b""
    while position + 7 <= len(data):
        room = 32768 - (position + 7) % 32768  # the file's header counts as part of the first block
        if room < 7:
            position += room
            continue
        length, kind = struct.unpack("<HB", data[position + 4 : position + 7])
        parts += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):
            yield parts
            parts = b""


@needs("trackio")
def test_trackio_records_every_number_in_its_own_database(tmp_path: Path) -> None:
    log_in_a_process(tmp_path, "trackio", TRACKIO_DIR=str(tmp_path / "trackio"))
    with contextlib.closing(sqlite3.connect(tmp_path / "trackio" / "quickstart.db")) as database:
        rows = database.execute("SELECT run_name, step, metrics FROM metrics ORDER BY id").fetchall()
    assert [(run, step) for run, step, _ in rows] == [("sft", step) for step in (0, 1, 2, 3, 4, 3)]
    assert json.loads(rows[1][2]) == {"loss": 0.875}


@pytest.mark.parametrize("name", SINKS)
def test_no_secret_of_the_environment_reaches_a_file(tmp_path: Path, name: str) -> None:
    if importlib.util.find_spec(SINKS[name][1]) is None:
        pytest.skip(f"{name} is not installed: pip install 'posttrain[{name}]'")
    home = tmp_path / "home"
    home.mkdir()
    secrets = dict.fromkeys(("WANDB_API_KEY", "HF_TOKEN", "OPENAI_API_KEY", "MY_PASSWORD"), PLANTED)
    log_in_a_process(
        tmp_path, name, WANDB_MODE="offline", TRACKIO_DIR=str(tmp_path / "trackio"), HOME=str(home), **secrets
    )
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert [path for path in files if PLANTED.encode() in path.read_bytes()] == []


@needs("wandb")
def test_wandb_is_given_no_command_line_packages_or_source(tmp_path: Path) -> None:
    log_in_a_process(tmp_path, "wandb", WANDB_MODE="offline")
    names = {path.name for path in (tmp_path / "curves").rglob("*") if path.is_file()}
    assert names.isdisjoint({"wandb-metadata.json", "requirements.txt", "output.log", "diff.patch", "code"})


@pytest.mark.parametrize("name", SINKS)
def test_a_stage_that_logs_nothing_starts_no_tracker(tmp_path: Path, name: str) -> None:
    if importlib.util.find_spec(SINKS[name][1]) is None:
        pytest.skip(f"{name} is not installed: pip install 'posttrain[{name}]'")
    with Metrics(tmp_path / "metrics.jsonl", open_sinks([name], run="a/b", folder=tmp_path)):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", SINKS)
def test_an_absent_library_is_named_with_the_extra_that_brings_it(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda library: None)
    with pytest.raises(MissingExtraError, match=rf"pip install 'posttrain\[{name}\]'"):
        open_sinks([name], run="a/b", folder=tmp_path)


def test_an_unknown_tracker_is_named_with_the_nearest_known_one(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="Did you mean 'tensorboard'"):
        open_sinks(["tensorbord"], run="a/b", folder=tmp_path)


def test_naming_trackers_imports_none_of_their_libraries(tmp_path: Path) -> None:
    script = """
import sys
from pathlib import Path
from posttrain.tracking import open_sinks
open_sinks(sys.argv[1:], run="a/b", folder=Path("."))
print([m for m in ("wandb", "trackio", "tensorboard", "torch") if m in sys.modules])
"""
    installed = [name for name, (_, library) in SINKS.items() if importlib.util.find_spec(library)]
    done = subprocess.run(
        [sys.executable, "-c", script, *installed], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"


@needs("wandb")
def test_wandb_without_a_key_says_the_ways_on(tmp_path: Path) -> None:
    script = LOG.replace("with Metrics", "from posttrain.errors import StoreError\nwith Metrics")
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, str(tmp_path), "wandb"],
        env={**{k: v for k, v in os.environ.items() if not k.startswith("WANDB")}, "WANDB_MODE": "online"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode != 0
    last = result.stderr.strip().splitlines()[-1]
    assert "StoreError" in last
    assert "WANDB_MODE=offline" in last
