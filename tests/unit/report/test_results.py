"""The `results` stage: several models in two files and a table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.unit.report.fake_run import make_run, samples_of, write_scores

from posttrain.errors import RecipeError
from posttrain.report.results import ResultsConfig, results
from posttrain.stage import Workspace
from posttrain.store import Scores


def test_every_model_stands_with_its_difference_and_its_training_loss(tmp_path: Path) -> None:
    scores = make_run(tmp_path, {"base": 0.3, "sft": 0.5, "rl": 0.1}, n=400)
    made = results(ResultsConfig(), [scores], Workspace(tmp_path / "results", quiet=True))
    rows = {row["model"]: row for row in json.loads((made.path / "evaluation_results.json").read_text())}
    assert list(rows) == ["base", "sft", "rl"]
    assert "difference" not in rows["base"]
    assert rows["sft"]["difference"] == pytest.approx(rows["sft"]["accuracy"] - rows["base"]["accuracy"])
    assert (rows["sft"]["verdict"], rows["rl"]["verdict"]) == ("better", "worse")
    assert {"n", "interval", "truncation_rate", "unparsed_rate", "p"} <= set(rows["sft"])
    assert rows["sft"]["training_loss"] == 0.4213
    log = {one["model"]: one for one in json.loads((made.path / "training_log.json").read_text())}
    assert log["sft"]["config"]["lr"] == 0.0003
    assert len(log["sft"]["loss"]) == 201
    assert log["sft"]["loss"][0][0] == 0
    table = (made.path / "results.md").read_text().splitlines()
    assert table[2].startswith("| base | data/test |")
    assert "| baseline |" in table[2]
    assert "| worse |" in table[4]


def test_another_baseline_may_be_named_and_an_unknown_one_is_refused(tmp_path: Path) -> None:
    scores = make_run(tmp_path, {"base": 0.3, "sft": 0.5}, n=200)
    made = results(ResultsConfig(baseline="sft"), [scores], Workspace(tmp_path / "results", quiet=True))
    rows = json.loads((made.path / "evaluation_results.json").read_text())
    assert [row.get("verdict") for row in rows] == ["worse", None]
    with pytest.raises(RecipeError, match="'sfd', which was not evaluated"):
        results(ResultsConfig(baseline="sfd"), [scores], Workspace(tmp_path / "other", quiet=True))


def test_models_that_were_asked_differently_are_not_compared(tmp_path: Path) -> None:
    first = make_run(tmp_path, {"base": 0.3}, n=50)
    second = write_scores(tmp_path, {"sft": samples_of("sft", 0.5, 50)}, "more", template="plain")
    made = results(ResultsConfig(), [first, second], Workspace(tmp_path / "results", quiet=True))
    rows = json.loads((made.path / "evaluation_results.json").read_text())
    assert "difference" not in rows[1]
    assert rows[1]["verdict"].startswith("not compared: base and sft were not asked the same")


def test_evaluations_without_scores_are_refused(tmp_path: Path) -> None:
    empty: Scores = write_scores(tmp_path, {})
    with pytest.raises(RecipeError, match="hold no scores"):
        results(ResultsConfig(), [empty], Workspace(tmp_path / "results", quiet=True))
