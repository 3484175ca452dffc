"""Progress: a bar on a terminal, plain lines elsewhere, silence when asked for."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from itertools import count

import pytest

from posttrain.tracking import Progress, progress

SCRIPT = """
import time
from posttrain.tracking import Progress
with Progress(200, "sft", "steps") as bar:
    bar.skip(100)
    for step in range(50):
        bar.update(1, loss=0.25, note="[bold]")
    with Progress(10, "validation", "samples") as inner:
        inner.update(10)
        print("a line between", flush=True)
        time.sleep(0.4)  # the bar is drawn ten times a second
    bar.update(50)
print("end")
"""


def on_a_terminal(script: str) -> str:
    """What a terminal of 120 columns is sent by `script`, which runs in a process of its own."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"}
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    )
    os.close(theirs)
    received = b""
    while True:
        try:
            chunk = os.read(ours, 65536)
        except OSError:  # EIO: the other side is closed
            break
        if not chunk:
            break
        received += chunk
    os.close(ours)
    assert process.wait(timeout=60) == 0, received.decode()
    return received.decode()


def test_a_terminal_is_shown_a_bar_with_rate_time_left_and_facts() -> None:
    text = on_a_terminal(SCRIPT)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    assert "━" in plain
    assert re.search(r"sft .*150/200 .*/s, \d+ s left  loss 0\.25  note \[bold\]", plain), plain
    assert re.search(r"validation .*10/10", plain), plain
    assert "a line between" in plain
    assert plain.rstrip().endswith("end")  # the bars are gone at the end


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two seconds pass between any two looks at the clock."""
    ticks = count(step=2)
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(ticks)))


@pytest.mark.usefixtures("clock")
def test_elsewhere_plain_lines_come_at_intervals(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(1000, "eval", "samples") as bar:
        for _ in range(10):
            bar.update(10, accuracy=0.4)
    lines = capsys.readouterr().err.splitlines()
    assert 2 <= len(lines) < 10
    for line in lines:
        assert re.fullmatch(
            r"  eval: \d+/1000 samples, [\d.]+/s, (\d+ h \d\d min|\d+ min \d\d s|\d+ s) left  accuracy 0.4", line
        ), line
    assert lines[-1].startswith("  eval: 100/1000")


@pytest.mark.usefixtures("clock")
def test_an_unknown_total_shows_no_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(None, "traces") as bar:
        for _ in range(5):
            bar.update()
    assert "left" not in capsys.readouterr().err


def test_short_work_and_quiet_work_print_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(2, "short") as bar:
        bar.update(2)
    with Progress(2, "quiet", quiet=True) as bar:
        bar.update(2)
    assert capsys.readouterr() == ("", "")


def test_what_an_earlier_process_did_counts_as_done_and_not_as_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0.0, *[10.0] * 9])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now))
    bar = Progress(1000, "sft", "steps", quiet=True)
    bar.skip(900)
    bar.update(50)
    assert bar.done == 950
    assert bar._pace() == "5/s, 10 s left"


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (59.6, "1 min 00 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")]
)
def test_time_left_is_said_in_units_a_person_uses(seconds: float, words: str) -> None:
    assert progress._duration(seconds) == words
