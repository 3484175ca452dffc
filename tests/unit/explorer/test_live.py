"""Curves of a stage that still writes."""

from __future__ import annotations

import json
from pathlib import Path

from perf.explorer_store import manifest
from tests.unit.explorer.conftest import client_of

from posttrain.explorer.app import open_site
from posttrain.explorer.live import Tail, panels
from posttrain.tracking import Metrics


def test_a_tail_takes_whole_lines_and_only_what_is_new(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    tail = Tail(path)
    assert tail.rows() == []
    path.write_text('{"step": 1, "loss": 0.5, "text": "x"}\n{"step": 2, "lo')
    assert tail.rows() == [{"step": 1, "loss": 0.5}]
    with path.open("a") as file:
        file.write('ss": 0.4}\nnot json\n{"loss": 1}\n{"step": 0, "loss": 0.9}\n')
    assert [r["step"] for r in tail.rows()] == [0, 1, 2]


def test_a_resumed_runs_rewritten_file_is_read_anew(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path / "metrics.jsonl")
    tail = Tail(tmp_path / "metrics.jsonl")
    for step in range(1, 6):
        metrics.log(step, loss=1.0)
    assert len(tail.rows()) == 5
    metrics.rewind(3)
    assert [r["step"] for r in tail.rows()] == [1, 2, 3]


def test_panels_are_those_that_the_report_knows() -> None:
    rows = [{"step": i, "loss": 1 / i, "val_accuracy": 0.5, "unheard_of": 1} for i in range(1, 4)]
    assert [p.title for p in panels(rows)] == ["Loss", "Accuracy"]
    assert panels(rows[:1]) == []


def test_the_live_part_of_the_page_grows_with_the_run(tmp_path: Path) -> None:
    run = tmp_path / "run"
    manifest("rl", "checkpoint", steps=9).write(run / "rl")
    metrics = Metrics(run / "rl" / "metrics.jsonl")
    metrics.log(1, loss=0.5)
    metrics.log(2, loss=0.4)
    with client_of(open_site(run)) as client:
        first = client.get("/runs?part=live").text
        assert "<html" not in first
        metrics.log(3, loss=0.3)
        assert client.get("/runs?part=live").text != first


def test_a_run_in_which_nothing_stands_yet_is_told_on_every_page(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with client_of(open_site(tmp_path / "run")) as client:
        assert "Nothing has run here yet" in client.get("/runs").text
        for page in ("map", "compare"):
            answer = client.get(f"/{page}")
            assert answer.status_code == 404
            assert "There are no samples here yet" in answer.text
        for page in ("search?q=x", "data", "lineage", "certificate", "sql?sql=SELECT+1"):
            assert client.get(f"/{page}").status_code == 200


def test_lines_that_break_the_rules_break_no_page(tmp_path: Path) -> None:
    run = tmp_path / "run"
    manifest("rl", "checkpoint").write(run / "rl")
    rows = [{"step": 1, "loss": 1e300}, {"step": 2, "loss": -1e300}, {"step": 10**30, "loss": 1}, {"step": "x"}, [1]]
    (run / "rl" / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    (run / "rl" / "certificate.json").write_text("[1, 2")
    with client_of(open_site(run)) as client:
        assert client.get("/runs").status_code == 200
        assert "certificate.json can&#39;t be read" in client.get("/certificate").text
