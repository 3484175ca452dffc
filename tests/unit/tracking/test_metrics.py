"""metrics.jsonl: what is logged is read back, through crashes, resumes and mistakes."""

from __future__ import annotations

import json
import math
import resource
import signal
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from posttrain.errors import DamagedError, StoreError
from posttrain.tracking import Metrics


class Recorder:
    """A sink that remembers its calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int, dict[str, float]]] = []

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.calls.append(("log", step, dict(values)))

    def rewind(self, step: int) -> None:
        self.calls.append(("rewind", step, {}))

    def close(self) -> None:
        self.calls.append(("close", -1, {}))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metrics.jsonl"


def test_a_file_that_was_never_written_has_no_rows(path: Path) -> None:
    assert Metrics(path).read() == []


def test_what_is_logged_is_read_back(path: Path) -> None:
    metrics = Metrics(path)
    metrics.log(1, loss=0.5, split="train", done=False, levels={"1": 0.25}, grid=(1, 2))
    metrics.log(2, loss=0.25)
    assert Metrics(path).read() == [
        {"step": 1, "loss": 0.5, "split": "train", "done": False, "levels": {"1": 0.25}, "grid": [1, 2]},
        {"step": 2, "loss": 0.25},
    ]


def test_numbers_of_numpy_and_torch_are_numbers(path: Path) -> None:
    metrics = Metrics(path)
    metrics.log(1, a=np.float32(0.5), b=torch.tensor(3), c=np.array([0.25]))
    assert metrics.read() == [{"step": 1, "a": 0.5, "b": 3, "c": 0.25}]


def test_nan_and_infinity_are_null_at_any_depth(path: Path) -> None:
    metrics = Metrics(path)
    metrics.log(1, a=math.nan, b=[math.inf, 1.0], c={"d": -math.inf}, e=torch.tensor(math.nan))
    assert json.loads(path.read_text()) == {"step": 1, "a": None, "b": [None, 1.0], "c": {"d": None}, "e": None}


@given(cut=st.integers(min_value=0, max_value=60))
def test_a_file_cut_anywhere_is_continued_without_loss_of_a_whole_line(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    path = tmp_path_factory.mktemp("cut") / "metrics.jsonl"
    first = Metrics(path)
    for step in (1, 2, 3):
        first.log(step, loss=step / 4)
    kept = path.read_bytes()[:cut]
    path.write_bytes(kept)
    Metrics(path).log(9, loss=0.0)
    whole = kept.count(b"\n") + kept.endswith(b"}")  # a line that lacks only its newline is whole
    assert [row["step"] for row in Metrics(path).read()] == [*[1, 2, 3][:whole], 9]


def test_a_broken_line_before_the_last_is_damage_and_named(path: Path) -> None:
    path.write_text('{"step": 1}\n{"st\n{"step": 3}\n')
    with pytest.raises(DamagedError, match="line 2"):
        Metrics(path).read()


def test_rewind_drops_what_lies_past_the_checkpoint_and_logging_goes_on(path: Path) -> None:
    metrics = Metrics(path)
    for step in range(5):
        metrics.log(step, loss=float(step))
    again = Metrics(path)
    again.rewind(2)
    again.log(3, loss=30.0)
    assert [(row["step"], row["loss"]) for row in again.read()] == [(0, 0.0), (1, 1.0), (2, 2.0), (3, 30.0)]
    assert [file.name for file in path.parent.iterdir()] == ["metrics.jsonl"]  # no temporary is left


def test_rewind_drops_a_torn_last_line(path: Path) -> None:
    path.write_text('{"step": 1}\n{"step": 2, "lo')
    Metrics(path).rewind(5)
    assert path.read_text() == '{"step": 1}\n'


def test_a_second_writer_is_an_error_and_neither_line_is_lost(path: Path) -> None:
    one, other = Metrics(path), Metrics(path)
    one.log(1, loss=1.0)
    other.log(2, loss=2.0)
    with pytest.raises(StoreError, match="another process writes"):
        one.log(3, loss=3.0)
    assert [row["step"] for row in other.read()] == [1, 2]


def test_a_full_disk_says_what_to_do(path: Path) -> None:
    metrics = Metrics(path)
    metrics.log(1, loss=1.0)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # then a write over the limit fails instead of killing
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size, limits[1]))
        with pytest.raises(StoreError, match=r"can't write .*Free some space"):
            metrics.log(2, loss=2.0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert [row["step"] for row in metrics.read()] == [1]


def test_sinks_are_given_the_finite_numbers_and_nothing_else(path: Path) -> None:
    sink = Recorder()
    with Metrics(path, [sink]) as metrics:
        metrics.log(1, loss=np.float64(0.5), tokens=7, note="text", ok=True, bad=math.nan, levels={"1": 0.5})
    assert sink.calls == [("log", 1, {"loss": 0.5, "tokens": 7}), ("close", -1, {})]


def test_sinks_hear_of_a_rewind_only_when_something_was_dropped(path: Path) -> None:
    sink = Recorder()
    metrics = Metrics(path, [sink])
    metrics.rewind(0)
    metrics.log(1, loss=1.0)
    metrics.rewind(1)
    metrics.rewind(0)
    assert [(what, step) for what, step, _ in sink.calls] == [("log", 1), ("rewind", 0)]
