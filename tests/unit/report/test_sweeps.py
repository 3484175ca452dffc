"""Sweeps and judges in a report: the course over checkpoints, the measures of answers, and what a judge is worth."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.unit.judge.fakes import ungraded
from tests.unit.report.fake_run import make_run
from tests.unit.report.fake_sweep import make_sweep

from posttrain.errors import DataError, StoreError
from posttrain.evals.sweep.words import best_in_words
from posttrain.judge import JudgeConfig
from posttrain.judge.stages import judge
from posttrain.report.config import ReportConfig
from posttrain.report.contents import gather
from posttrain.report.run import judgements_of
from posttrain.report.stages import report
from posttrain.stage import Workspace
from posttrain.store import Judgements, Manifest, Scores

RISING = {0: 0.1, 50: 0.3, 100: 0.5, 150: 0.55}


def written(folder: Path, *of: Scores, judged: list[Judgements] | None = None) -> tuple[dict[str, Any], str, str]:
    """(report.json, report.html, report.md without the backslashes before brackets and underscores)."""
    made = report(ReportConfig(), list(of), Workspace(folder, quiet=True), judged)
    told = json.loads((made.path / "report.json").read_text())
    markdown = (made.path / "report.md").read_text()
    return told, (made.path / "report.html").read_text(), re.sub(r"\\([\[\]_|])", r"\1", markdown)


def told(*of: Scores, judged: list[Judgements] | None = None, **config: Any) -> dict[str, Any]:
    return gather(ReportConfig.model_validate(config), of, "run", judged or ()).as_json()


def opinions(folder: Path, *of: Scores, **config: Any) -> Judgements:
    return judge(JudgeConfig.model_validate(config), list(of), Workspace(folder, quiet=True))


def test_a_sweep_is_told_over_its_steps_with_paired_tests(tmp_path: Path) -> None:
    swept = make_sweep(tmp_path, RISING)
    found, html, text = written(tmp_path / "report", swept)
    says = json.loads((swept.path / "sweep.json").read_text())["says"]["data/test"]
    (course,) = found["courses"]
    assert course["says"] == says
    assert [s["step"] for s in course["steps"]] == list(RISING)
    assert "sweep-rl on data/test: accuracy rises from step 0 to 150: +" in text
    for page in (html, text):
        assert "against the one before" in page
        assert page.count("(best)") == 1
        assert re.search(r"At every step n = 60 problems\.", page)
    last = says["comparisons"][-1]
    assert f"{100 * last['difference']:+.1f} [" in html
    for name in ("course-sweep-rl-on-data-test", "answers-sweep-rl-on-data-test"):
        assert f"({name}.png)" in text
        assert (tmp_path / "report" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert "http" not in html.replace("http-equiv", "").replace("http://www.w3.org", "")


def test_only_the_ends_of_a_sweep_stand_under_results(tmp_path: Path) -> None:
    """A step that was chosen by its score would stand there flattered; twenty models would hide the answer."""
    swept = make_sweep(tmp_path, RISING)
    found = told(swept)
    assert [m["name"] for m in found["models"]] == ["step-000000", "step-000150"]
    assert [(c["a"], c["b"]) for c in found["comparisons"]] == [("step-000000", "step-000150")]
    asked = told(swept, comparisons=[["step-000050", "step-000100"]])
    assert [(c["a"], c["b"]) for c in asked["comparisons"]] == [("step-000050", "step-000100")]


def test_the_best_step_never_stands_with_the_score_that_chose_it_alone(tmp_path: Path) -> None:
    swept = make_sweep(tmp_path / "half", RISING)
    _, html, _ = written(tmp_path / "half" / "report", swept)
    best = json.loads((swept.path / "sweep.json").read_text())["says"]["data/test"]["best"]
    assert best["held_out"]["n"] == 30
    assert f"{100 * best['held_out']['accuracy']:.1f} % [" in html
    assert "] on the other 30" in html
    whole = make_sweep(tmp_path / "whole", RISING, share=1.0)
    _, html, _ = written(tmp_path / "whole" / "report", whole)
    assert "on all 60 problems, on which it was chosen; that flatters it" in html


def test_the_best_step_is_held_against_the_last_where_it_was_not_chosen() -> None:
    against = {"difference": 0.1, "interval": [0.02, 0.18], "p": 0.012, "verdict": "better"}
    best = {
        "step": 50,
        "selection": {"n": 30, "accuracy": 0.5},
        "held_out": {"n": 30, "accuracy": 0.4, "interval": [0.25, 0.55], "against_last": against},
    }
    assert best_in_words(best) == (
        "best step 50: 50.0 % on the 30 problems it was chosen on, 40.0 % [25.0, 55.0] on the other 30, there better "
        "than the last step (+10.0 points [+2.0, +18.0], p = 0.012)"
    )


def test_the_measures_of_answers_stand_over_steps(tmp_path: Path) -> None:
    found, html, text = written(tmp_path / "report", make_sweep(tmp_path, RISING))
    series = found["courses"][0]["analytics"]["series"]
    assert series["tokens"]["value"] == [pytest.approx(26.4, abs=1)] * 4
    for means in (series["check"]["means"], series["repetition"]["means"]):
        assert means in html
        assert means.replace("…", "…") in text.replace("\\", "")
    assert "<figcaption>Tokens of an answer" in html
    assert "<figcaption>Repetition" in html


def test_a_judge_stands_with_what_it_is_worth_and_over_the_steps(tmp_path: Path) -> None:
    swept = make_sweep(tmp_path, RISING)
    one = opinions(tmp_path / "judged", swept, tasks=[{"task": "correctness"}, {"task": "quality", "limit": 10}])
    found, html, text = written(tmp_path / "report", swept, judged=[one])
    summary = json.loads((one.path / "judge.json").read_text())
    assert found["judged"][0]["with_grader"] == summary["with_grader"]
    assert [e["step"] for e in found["judged"][0]["entries"] if e["task"] == "correctness"] == list(RISING)
    kappa = summary["with_grader"]["kappa"]
    for page in (html, text):
        assert "the verifiable grader" in page
        assert f"{kappa:.2f} [" in page
        assert "Judged correct, data/test" in page
        assert "Quality of the reasoning, 1 to 5, data/test" in page
        assert "The scripted judge is a set of rules" in page
        assert "0 of 60" in page, "how many replies were not read stands beside every number"
    assert "graded correct" in html, "the grader's verdicts on the same answers are drawn beside the judge's"
    assert (tmp_path / "report" / "judged-judged.png").is_file()
    assert "judged" in [line["name"] for line in found["lineage"]]


def test_what_a_judge_could_not_read_its_biases_and_people_are_told(tmp_path: Path) -> None:
    scores = make_run(tmp_path / "run", {"base": 0.3, "sft": 0.7}, n=20)
    labels = tmp_path / "labels.jsonl"
    rows = [{"task": "preference", "problem_id": f"synthetic/test/{i}", "label": "win"} for i in range(20)]
    labels.write_text("".join(json.dumps(row) + "\n" for row in rows))
    tasks = [{"task": "preference", "against": "base"}]
    one = opinions(tmp_path / "judged", scores, tasks=tasks, labels=str(labels))
    path = one.path / "judge.json"
    summary = json.loads(path.read_text())
    summary |= {"unparsed": 3, "asked_again": 5, "judge": "<b>judge</b>"}
    path.write_text(json.dumps(summary))
    _, html, text = written(tmp_path / "report", scores, judged=[one])
    assert "5 were asked once more" in html
    assert "in the end: 3 unparsed" in html
    assert "<b>judge" not in html
    assert "&lt;b&gt;judge&lt;/b&gt;" in html
    assert "<b>judge" not in text
    for page in (html, text):
        assert "Preferred against base, data/test" in page
        assert "the answer in front was taken in" in page
        assert re.search(r"people\W+preference|people</th>", page)


def test_two_sweeps_are_told_apart_and_their_last_steps_compared(tmp_path: Path) -> None:
    first = make_sweep(tmp_path / "a", RISING)
    second = make_sweep(tmp_path / "b", {0: 0.1, 50: 0.2, 100: 0.2})
    found, html, _ = written(tmp_path / "report", first, second)
    assert [m["name"] for m in found["models"]][:2] == ["a/sweep-rl:step-000000", "a/sweep-rl:step-000150"]
    assert [(c["a"], c["b"]) for c in found["comparisons"]] == [
        ("a/sweep-rl:step-000000", "a/sweep-rl:step-000150"),
        ("b/sweep-rl:step-000000", "b/sweep-rl:step-000100"),
        ("a/sweep-rl:step-000150", "b/sweep-rl:step-000100"),
    ]
    assert [c["sweep"] for c in found["courses"]] == ["a/sweep-rl", "b/sweep-rl"]
    judged = opinions(tmp_path / "judged", first, second)
    models = [e["model"] for e in json.loads((judged.path / "judge.json").read_text())["entries"]]
    assert models[0] == "a/sweep-rl:step-000000"
    assert len(models) == len(set(models)) == 7, "two runs' checkpoints are not judged as one"
    _, html, _ = written(tmp_path / "both", first, second, judged=[judged])
    assert "b/sweep-rl judged correct" in html
    line = re.search(r"a/sweep-rl judged correct</title>", html)
    assert line, "all checkpoints of a sweep are one line, also those whose step the other has not"


def test_sweeps_over_different_problem_sets_are_not_compared_and_both_told(tmp_path: Path) -> None:
    first = make_sweep(tmp_path / "a", RISING)
    second = make_sweep(tmp_path / "b", RISING, n=40, template="plain")
    found = told(first, second)
    (refused,) = found["refused"]
    assert "were not asked the same: they differ in template" in refused["reason"]
    assert len(found["courses"]) == 2


def test_answers_that_only_a_judge_can_tell_apart_make_a_report(tmp_path: Path) -> None:
    texts = {f"alpaca_eval/{i}": f"An answer, number {i}." for i in range(12)}
    scores = ungraded(tmp_path / "scores", {"m": texts})
    references = tmp_path / "references.jsonl"
    rows = [{"id": id, "output": "A reference. " * (i + 1), "generator": "ref"} for i, id in enumerate(texts)]
    references.write_text("".join(json.dumps(row) + "\n" for row in rows))
    one = opinions(tmp_path / "judged", scores, tasks=[{"task": "win_rate", "references": str(references)}])
    found, html, text = written(tmp_path / "report", scores, judged=[one])
    assert found["models"] == []
    assert found["baseline"] is None
    assert "<h2>Results" not in html
    assert "## Results" not in text
    assert "Win rate against ref, alpaca_eval" in text
    assert "length-controlled" in html


def test_a_runs_judgements_are_found_and_reported(tmp_path: Path, posttrain: Any) -> None:
    swept = make_sweep(tmp_path / "run", RISING)
    one = opinions(tmp_path / "run" / "judged", swept)
    manifest = Manifest.read(swept.path)
    assert manifest is not None
    made = dataclasses.replace(manifest, stage="judge", kind="judgements", inputs={}, digest=None)
    made.write(one.path)
    dataclasses.replace(made, status="running").write(tmp_path / "run" / "again")
    dataclasses.replace(manifest, digest=None).write(swept.path)
    assert judgements_of(tmp_path / "run") == [one.path]
    done = posttrain("report", str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    assert "sweep-rl on data/test: accuracy rises" in done.stdout
    assert "not finished, so not in this report: again (judge)" in done.stderr
    assert "Cohen" in (tmp_path / "run" / "report" / "report.md").read_text()


def test_missing_and_broken_files_are_said_in_one_message(tmp_path: Path) -> None:
    swept = make_sweep(tmp_path, RISING)
    one = opinions(tmp_path / "judged", swept)
    (one.path / "judge.json").unlink()
    with pytest.raises(StoreError, match=r"judge\.json is missing: .* holds no finished judgements"):
        told(swept, judged=[one])
    (swept.path / "analytics.json").write_text("{")
    with pytest.raises(DataError, match=r"analytics\.json can't be read .* --fresh"):
        told(swept)
    (swept.path / "analytics.json").unlink()
    assert told(swept)["courses"][0]["analytics"] == {}
    (swept.path / "sweep.json").write_text("{")
    with pytest.raises(DataError, match=r"holds a sweep that can't be read"):
        told(swept)
