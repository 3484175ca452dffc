from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from tests.unit.report.fake_run import make_run, write_scores

from posttrain.errors import DamagedError, RecipeError
from posttrain.report.config import ReportConfig
from posttrain.report.contents import gather
from posttrain.report.costs import costs
from posttrain.report.lineage import ancestry
from posttrain.report.run import evaluations_of
from posttrain.report.selection import selections
from posttrain.report.stages import report
from posttrain.report.tables import money
from posttrain.stage import Workspace
from posttrain.store import Checkpoint, Manifest, Samples, Scores, write_json


def written(scores: Scores, run: Path, **config: Any) -> dict[str, Any]:
    made = report(ReportConfig.model_validate(config), [scores], Workspace(run / "report", quiet=True))
    found: dict[str, Any] = json.loads((made.path / "report.json").read_text())
    return found


def told(scores: Scores, **config: Any) -> dict[str, Any]:
    """What report.json would say; nothing is drawn."""
    return gather(ReportConfig.model_validate(config), [scores], "run").as_json()


def both(run: Path) -> tuple[str, str]:
    return (run / "report" / "report.html").read_text(), (run / "report" / "report.md").read_text()


def step_of(name: str, before: int, after: int, verb: str = "filter", **more: Any) -> dict[str, Any]:
    """A step as curation.json has it."""
    own = {"label": f"1-{name}", "verb": verb, "name": name, "before": before, "after": after}
    config = {verb: name, **more.pop("config", {})}
    return {**own, "dropped": before - after, "config": config, "threshold": None, "examples": [], "notes": {}, **more}


def change(folder: Path, **facts: Any) -> None:
    manifest = Manifest.read(folder)
    assert manifest is not None
    dataclasses.replace(manifest, **facts).write(folder)


def test_the_report_has_every_section_that_the_courses_ask_for(tmp_path: Path) -> None:
    scores = make_run(tmp_path, {"base": 0.15, "sft": 0.42, "rl": 0.61}, n=60)
    change(tmp_path / "sft", config={"lr": 0.001})
    write_json(tmp_path / "sft" / "curation.json", {"steps": [step_of("correct", 10, 7)]})
    written(scores, tmp_path)
    html, text = both(tmp_path)
    assert '<tr class="differs"><th scope="row"><code>lr</code>' in html
    for heading in (
        "Results",
        "Analysis",
        "Hyperparameters",
        "Selection strategy",
        "Certificate",
        "Cost and time",
        "Lineage",
    ):
        assert f"<h2>{heading}" in html
    for heading in ("Results", "Comparison and analysis", "Hyperparameters", "Selection strategy", "Cost and time"):
        assert f"\n## {heading}\n" in text


def test_the_baseline_is_what_the_others_are_compared_with(tmp_path: Path) -> None:
    scores = make_run(tmp_path, {"base": 0.15, "sft": 0.42, "rl": 0.61}, n=60)
    found = told(scores, baseline="sft")
    assert found["baseline"] == "sft"
    assert [m["name"] for m in found["models"]] == ["sft", "base", "rl"]
    assert ("sft", "rl") in {(c["a"], c["b"]) for c in found["comparisons"]}
    with pytest.raises(RecipeError, match=r"baseline is 'sfd', which was not evaluated. Did you mean 'sft'"):
        told(scores, baseline="sfd")


def test_the_analysis_says_what_changed_and_where_it_comes_from(tmp_path: Path) -> None:
    found = told(make_run(tmp_path, {"base": 0.15, "sft": 0.6}, n=200))
    comparison, analysis = found["comparisons"][0], found["analysis"][0]
    said = " ".join(analysis["says"])
    assert (analysis["a"], analysis["b"]) == ("base", "sft")
    assert f"sft scores higher on {comparison['won']:,} problems and lower on {comparison['lost']:,}" in said
    assert "By cause, in points: " in said
    assert "unparsed " in said
    assert "An answer of sft has 26.9 [" in said  # tokens 20 + i % 15, alike in both models
    assert "these intervals overlap" in said


def test_hyperparameters_stand_side_by_side_and_disagreement_shows(tmp_path: Path) -> None:
    scores = make_run(tmp_path, {"base": 0.15, "sft": 0.42}, n=20)
    change(tmp_path / "sft", config={"lr": 0.001, "optimizer": {"betas": [0.9, 0.95]}, "lora": None})
    found = told(scores)
    assert found["hyperparameters"]["lr"] == {"base": 0.0003, "sft": 0.001}
    assert found["hyperparameters"]["optimizer.betas"] == {"base": None, "sft": [0.9, 0.95]}
    assert "lora" not in found["hyperparameters"]


def test_every_step_of_a_curation_is_told_with_what_it_kept(tmp_path: Path) -> None:
    make_run(tmp_path, {"base": 0.2}, n=5)
    ledger = {
        "steps": [
            step_of("length", 1000, 900, config={"max": 4096, "min": None}),
            step_of(
                "mix",
                900,
                500,
                "select",
                config={"budget": 500},
                examples=[{"row": 3, "reason": "not drawn"}, {"row": 4, "reason": "not drawn"}],
                notes={
                    "tokens": 70,
                    "groups": [{"group": "a"}],
                    "pairs": [{"row_text": "long"}],
                    "said": ["a ran out"],
                },
            ),
        ]
    }
    write_json(tmp_path / "data" / "curation.json", ledger)
    (one,) = selections(ancestry([Samples(tmp_path / "data", "data")]))
    assert [(s.name, s.before, s.kept) for s in one.steps] == [("length", 1000, 900), ("mix", 900, 500)]
    assert one.steps[0].settings == "max 4,096"
    assert one.steps[0].reasons == ""
    assert one.steps[1].settings == "budget 500"
    assert one.steps[1].reasons == "a ran out; tokens 70; e.g. not drawn", "tables and pairs stand elsewhere"
    (tmp_path / "data" / "curation.json").write_text("{")
    with pytest.raises(DamagedError, match=r"curation.json can't be read"):
        selections(ancestry([Samples(tmp_path / "data", "data")]))


def test_a_curation_without_a_ledger_is_told_as_it_was_configured(tmp_path: Path) -> None:
    make_run(tmp_path, {"base": 0.2}, n=5)
    change(
        tmp_path / "data", stage="curate", config={"steps": [{"filter": "correct"}, {"select": "random", "budget": 5}]}
    )
    (one,) = selections(ancestry([Samples(tmp_path / "data", "data")]))
    assert [(s.name, s.kept, s.settings) for s in one.steps] == [("correct", None, ""), ("random", None, "budget 5")]


def test_costs_add_up_over_the_stages(tmp_path: Path) -> None:
    make_run(tmp_path, {"base": 0.2, "sft": 0.4}, n=5)
    change(tmp_path / "data", summary={"dollars": 1.25})
    change(tmp_path / "sft", attempts=2, hardware={"gpus": ["H100", "H100"]})
    found = costs(ancestry([Checkpoint(tmp_path / "sft", "sft")]), price=3.6)
    assert found.seconds == pytest.approx(2.1 + 80.4 + 80.4)
    assert found.paid == 1.25
    assert found.rent == pytest.approx(3.6 * (2.1 + 80.4 + 80.4) / 3600)
    assert found.again == ("sft",)
    assert {s.name: s.hardware for s in found.stages}["sft"] == "2 × H100"
    assert costs(ancestry([Checkpoint(tmp_path / "base", "base")])).rent is None
    assert (money(None), money(0.0), money(0.001), money(1234.5)) == ("–", "$0.00", "< $0.01", "$1,234.50")


def test_times_stand_in_a_file_that_no_digest_covers(tmp_path: Path) -> None:
    written(make_run(tmp_path, {"base": 0.2, "sft": 0.4}, n=5), tmp_path)
    timing = json.loads((tmp_path / "report" / "timing.json").read_text())
    assert {s["name"]: s["seconds"] for s in timing["stages"]}["sft"] == 80.4
    assert "80.4" not in (tmp_path / "report" / "report.json").read_text()


def test_a_run_is_reported_by_its_folder_and_says_what_is_not_finished(tmp_path: Path, posttrain: Any) -> None:
    make_run(tmp_path / "run", {"base": 0.2, "sft": 0.4}, n=20)
    change(tmp_path / "run" / "scores", digest=None)
    change(tmp_path / "run" / "sft", status="running")
    done = posttrain("report", "run", "examples=1")
    assert done.returncode == 0, done.stderr
    assert "not finished, so not in this report: sft (sft)" in done.stderr
    assert (tmp_path / "run" / "report" / "report.html").is_file()
    again = posttrain("report", "run")
    assert again.returncode == 2
    assert "--fresh report" in again.stderr


def test_a_run_without_an_evaluation_is_said_and_what_it_waits_for(tmp_path: Path) -> None:
    make_run(tmp_path / "run", {"base": 0.2}, n=5)
    change(tmp_path / "run" / "scores", status="running")
    with pytest.raises(RecipeError, match=r"no finished evaluation yet; still running or interrupted: scores \(eval\)"):
        evaluations_of(tmp_path / "run")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RecipeError, match="empty is no run"):
        evaluations_of(tmp_path / "empty")
    with pytest.raises(RecipeError, match="is no folder here"):
        evaluations_of(tmp_path / "absent")


def test_an_evaluation_stands_for_itself(tmp_path: Path) -> None:
    scores = write_scores(tmp_path, {})
    assert evaluations_of(scores.path) == ([scores.path], [])
