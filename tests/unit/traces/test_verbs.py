"""`posttrain traces` with its flags, `posttrain cuts`, and what `posttrain plan` says of teachers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.scripted_provider import Script, ScriptedProvider
from tests.unit.traces.scripted import ask, problem, some_problems, teacher

from posttrain.cli import main
from posttrain.pipeline import build_graph, load_recipe, plan_graph, run_stage
from posttrain.store import Manifest


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    shown = capsys.readouterr()
    return int(ended.value.code or 0), shown.out, shown.err


def test_a_pilot_alone_asks_a_few_tells_and_leaves_the_rest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [{"question": p.question, "answer": p.answer} for p in map(problem, range(30))]
    (tmp_path / "eggs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run_stage("data", {"dataset": "eggs.jsonl"}, {}, "problems", quiet=True)
    with ScriptedProvider(Script(latency=0.0)) as provider:
        (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"teachers": {"t": teacher(provider)}}))
        own = ["problems=problems", "teacher=t", "registry=mine.yaml", "max_tokens=50", "out=run/traces"]
        code, out, err = run(capsys, "traces", *own, "--pilot", "8", "--quiet")
        assert (code, err) == (0, "")
        assert "t: 30 requests, told from 8" in out
        assert "money" in out
        assert provider.ledger.asked.total() == 8
        assert not (tmp_path / "run/traces").exists()
        code, out, _ = run(capsys, "traces", *own, "--max-cost", "1", "--quiet")
        assert code == 0
        assert "run/traces" in out
        assert set(provider.ledger.asked.values()) == {1}, "the pilot's replies were in the journal"
        code, _, err = run(capsys, "traces", *own[:-1], "out=other/traces", "--max-cost", "0.00001", "--quiet")
        assert code == 2
        assert "budget is used up" in err
    manifest = Manifest.read(tmp_path / "run/traces")
    assert manifest is not None
    assert manifest.summary["correct"] == 30
    code, _, err = run(capsys, "traces", "problems=problems", "teacher=solver", "--pilot", "3")
    assert code == 2
    assert "costs nothing" in err


def test_the_help_names_the_flags_and_every_key(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "traces", "--help")
    assert code == 0
    for word in ("--pilot", "--max-cost", "teacher=reference", "max_cost=", "define=", "batch="):
        assert word in out


def test_cuts_are_shown_before_and_after(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with ScriptedProvider(Script(latency=0.0)) as provider:
        given = some_problems(tmp_path, [problem(0), problem(7)])
        ask(
            tmp_path,
            given,
            teacher="t",
            define={"t": teacher(provider)},
            prompt="{question} Give the eggs as one number.",
        )
    code, out, _ = run(capsys, "cuts", str(tmp_path / "traces"), "--problem", "p7")
    assert code == 0
    assert "p7 #0, response" in out
    assert "[- Give the eggs as one number.-]\nANSWER: 54" in out
    assert "You asked: How many eggs has hen 7??" in out
    assert "1  echo of the instructions" in out
    assert "1 of 1 traces were cleaned" in out
    code, _, err = run(capsys, "cuts", str(tmp_path / "problems"))
    assert code == 2
    assert "holds no traces" in err


RECIPE: dict[str, Any] = {
    "name": "r",
    "stages": {
        "problems": {"stage": "data", "dataset": "gsm8k"},
        "traces": {"stage": "traces", "problems": "problems", "teacher": "gpt-4o-mini", "max_tokens": 300},
    },
}


def planned(tmp_path: Path, **changes: Any) -> dict[str, Any]:
    stages = {**RECIPE["stages"], "traces": {**RECIPE["stages"]["traces"], **changes}}
    (tmp_path / "r.yaml").write_text(yaml.safe_dump({**RECIPE, "stages": stages}))
    plan = plan_graph(build_graph(load_recipe(tmp_path / "r.yaml")), tmp_path / "run")
    return dict(next(one.forecast for one in plan if one.node.name == "traces"))


def test_a_plan_tells_money_and_time_and_an_unknown_price_is_unknown(tmp_path: Path) -> None:
    told = planned(tmp_path)
    # 7,473 questions of 75 tokens and 30 around them, answers of 300, at $0.15 and $0.60 per million.
    assert told["dollars"] == pytest.approx(7473 * (105 * 0.15 + 300 * 0.60) / 1e6)
    assert told["seconds"] == pytest.approx(60 * 7473 * 405 / 200_000, rel=0.02)  # 200,000 tokens a minute
    assert planned(tmp_path, teacher="deepseek-r1")["dollars"] is None
    assert planned(tmp_path, batch={})["dollars"] == pytest.approx(told["dollars"] / 2)
    assert planned(tmp_path, batch={})["seconds"] is None
    both = planned(tmp_path, teacher=["gpt-4o-mini", "gpt-4o"], samples=2)
    assert both["dollars"] > 2 * told["dollars"]


def test_a_plan_believes_a_pilot_that_was_made(tmp_path: Path) -> None:
    folder = tmp_path / "run/journals/gpt-4o-mini"
    folder.mkdir(parents=True)
    measured = {"requests": 100, "dollars": {"value": 5.0}, "completion_tokens": {"value": 50_000.0}}
    (folder / "pilot.json").write_text(json.dumps(measured))
    assert planned(tmp_path)["dollars"] == pytest.approx(7473 * 0.05)
