"""Stages whose work is parted among devices: the same result, nothing twice, and an interrupt that ends all."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.kill import data_digests

from posttrain.errors import EngineError, TrainingError
from posttrain.pipeline import RunResult, build_graph, parse_recipe, run_graph
from posttrain.pipeline.panes import Framed, Prefixed, Tail, panes_for
from posttrain.store.lock import locked

ROOT = Path(__file__).resolve().parents[3]
RECIPE: dict[str, Any] = {"name": "r", "seed": 1, "stages": {"many": {"stage": "tests.toys:parted", "n": 6}}}
SEVERAL = {**RECIPE, "devices": ["cpu", "cpu"]}


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))


def run(folder: Path, recipe: dict[str, Any], *overrides: str, **more: Any) -> RunResult:
    graph = build_graph(parse_recipe(recipe, "r.yaml", overrides))
    return run_graph(graph, folder / "r", quiet=True, **{"say": lambda line: None, **more})


def made(journal: Path) -> dict[int, list[str]]:
    """part → the processes that made it."""
    found: dict[int, list[str]] = {}
    for line in journal.read_text().splitlines():
        number, process = line.split()
        found.setdefault(int(number), []).append(process)
    return found


def test_two_devices_share_the_parts_and_the_files_are_those_of_one(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    one = run(tmp_path / "one", RECIPE)
    several = run(tmp_path / "several", SEVERAL, f"many.journal={journal}")
    assert one.made["many"].outcome == several.made["many"].outcome == "made"
    assert data_digests(tmp_path / "one" / "r") == data_digests(tmp_path / "several" / "r")
    who = made(journal)
    assert sorted(who) == list(range(6))
    assert all(len(processes) == 1 for processes in who.values()), "each part once"
    assert str(os.getpid()) not in {p for processes in who.values() for p in processes}
    assert not (tmp_path / "several" / "r" / "many" / ".work").exists(), "what only the sharing needed is gone"
    logs = sorted(p.name for p in (tmp_path / "several" / "r" / "logs").iterdir())
    assert logs == ["many.log", "many.shard-1.log", "many.shard-2.log"]


def test_more_devices_than_parts_is_said_and_fine(tmp_path: Path) -> None:
    recipe = {**RECIPE, "devices": ["cpu"] * 3}
    run(tmp_path, recipe, "many.n=2")
    log = (tmp_path / "r" / "logs" / "many.log").read_text()
    assert "2 parts for 3 devices: the others stay idle" in log


def test_the_error_of_a_part_is_the_stages_and_the_others_parts_are_kept(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    with pytest.raises(TrainingError, match=r"part has a hole\. Mend it\."):
        run(tmp_path, SEVERAL, "many.breaks=5", f"many.journal={journal}")
    assert run(tmp_path, SEVERAL, f"many.journal={journal}").made["many"].outcome == "resumed"
    assert Counter(len(processes) for processes in made(journal).values()) == {1: 6}


def test_a_process_that_dies_is_told_with_what_it_said_last(tmp_path: Path) -> None:
    recipe = {**SEVERAL, "stages": {"many": {"stage": "tests.toys:dying", "n": 2}}}
    with pytest.raises(EngineError, match=r"(?s)the process that made parts/0.json ended with 9; .*out of memory"):
        run(tmp_path, recipe)


def test_ctrl_c_ends_every_process_and_a_second_run_makes_only_what_is_missing(tmp_path: Path) -> None:
    """Parts 2 to 5 wait for a file; the interrupt comes when two processes wait, with parts 0 and 1 finished."""
    gate, journal = tmp_path / "gate", tmp_path / "journal"
    recipe = {**SEVERAL, "stages": {"many": {**RECIPE["stages"]["many"], "gate": str(gate), "journal": str(journal)}}}
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(recipe))
    command = [sys.executable, "-c", "from posttrain.cli import main; main()", "run", "r.yaml"]

    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True, text=True
    )
    logs = tmp_path / "runs/r/logs"  # two begin, are taken over, and two more begin
    waits(lambda: sum(p.read_text().count("making") for p in logs.glob("many.shard-*.log")) == 4)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of the group
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert "stopped. Run the same command again to continue." in said
    with locked(tmp_path / "runs/r"), locked(tmp_path / "runs/r/many"):
        pass  # nobody holds them: every process has ended
    assert sorted(p.name for p in (tmp_path / "runs/r/many/.work/parts").iterdir()) == ["0.json", "1.json"]

    gate.touch()
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True)
    assert "resumed" in again.stdout
    assert sorted(made(journal)) == list(range(6))
    assert all(len(processes) == 1 for processes in made(journal).values())
    assert [row["number"] for row in json.loads((tmp_path / "runs/r/many/all.json").read_text())] == list(range(6))


def waits(happens: Any) -> None:
    """Until it happens; the machine may be as slow as it likes, within minutes."""
    deadline = time.monotonic() + 300
    while not happens():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_elsewhere_than_on_a_terminal_lines_carry_the_name_of_who_said_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path, SEVERAL, panes=Prefixed())
    lines = capsys.readouterr().out.splitlines()
    said = [line for line in lines if line.startswith("[many/")]
    assert sorted(line.split("] ")[1] for line in said) == [f"making {k}" for k in range(6)]
    assert {line.split("]")[0] for line in said} <= {"[many/1", "[many/2"}


def test_a_terminal_shows_a_frame_for_each_with_its_last_lines(tmp_path: Path) -> None:
    from rich.console import Console

    with Framed() as panes:
        for name in ("many/1", "many/2"):
            panes.follow(name, tmp_path / f"{name[-1]}.log")
        (tmp_path / "1.log").write_bytes(b"".join(b"line %d\n" % k for k in range(20)) + b"\x1b[31m[bold]red\nhalf")
        (tmp_path / "2.log").write_bytes(b"progress 1\rprogress 2\r")
        panes.look()
        console = Console(width=60, record=True, file=io.StringIO())
        console.print(panes._drawn())
        text = console.export_text()
    assert "many/1" in text
    assert "many/2" in text
    assert "line 19" in text
    assert "line 12" not in text, "only the last ones"
    assert "[31m[bold]red" in text, "what a model says is neither markup nor a control sequence"
    assert "progress 2" in text
    assert "half" not in text, "a line that is not whole yet"


def test_a_log_is_followed_from_where_it_stood(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("of yesterday\n")
    tail = Tail(log)
    with log.open("a") as file:
        file.write("one\ntw")
        file.flush()
        assert tail.lines() == ["one"]
        file.write("o\nthree")
        file.flush()
    assert tail.lines() == ["two"]
    assert tail.lines(end=True) == ["three"]


def test_quiet_has_no_panes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path, SEVERAL, panes=panes_for(quiet=True))
    assert "making" not in capsys.readouterr().out
