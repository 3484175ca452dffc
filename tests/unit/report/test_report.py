from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.tags import Tags
from tests.unit.report.fake_run import HOSTILE, make_run, samples_of, write_scores

from posttrain.errors import RecipeError
from posttrain.report.config import ReportConfig
from posttrain.report.stages import report
from posttrain.stage import Workspace
from posttrain.store import Scores


def written(scores: Scores | list[Scores], run: Path, **config: Any) -> dict[str, Any]:
    of = scores if isinstance(scores, list) else [scores]
    made = report(ReportConfig.model_validate(config), of, Workspace(run / "report", quiet=True))
    found: dict[str, Any] = json.loads((made.path / "report.json").read_text())
    return found


def page(run: Path) -> str:
    return (run / "report" / "report.html").read_text()


def test_report_json_holds_models_and_paired_comparisons(tmp_path: Path) -> None:
    found = written(make_run(tmp_path, {"base": 0.15, "sft": 0.42, "rl": 0.61}, n=300), tmp_path)
    assert [m["name"] for m in found["models"]] == ["base", "sft", "rl"]
    assert {"n", "accuracy", "interval", "truncation_rate", "unparsed_rate"} <= set(found["models"][0])
    pairs = {(c["a"], c["b"]): c for c in found["comparisons"]}
    assert set(pairs) == {("base", "sft"), ("base", "rl"), ("sft", "rl")}
    gain = found["models"][2]["accuracy"] - found["models"][1]["accuracy"]
    assert pairs["sft", "rl"]["difference"] == pytest.approx(gain)
    assert pairs["sft", "rl"]["verdict"] == "better"
    assert found["headlines"][0].startswith("sft is better than base: +")


def test_asked_comparisons_replace_the_default(tmp_path: Path) -> None:
    scores = make_run(tmp_path, {"base": 0.15, "sft": 0.42, "rl": 0.61}, n=100)
    found = written(scores, tmp_path, comparisons=[["sft", "rl"]])
    assert [(c["a"], c["b"], c["family"]) for c in found["comparisons"]] == [("sft", "rl", 1)]
    with pytest.raises(RecipeError, match=r"'sfd', which was not evaluated. Did you mean 'sft'"):
        written(scores, tmp_path, comparisons=[["sfd", "rl"]])


def test_models_that_solve_nothing_cannot_be_told_apart(tmp_path: Path) -> None:
    found = written(make_run(tmp_path, {"base": -1, "sft": -1}, n=50), tmp_path)
    comparison = found["comparisons"][0]
    assert comparison["p"] == 1.0
    assert comparison["verdict"].startswith("cannot tell; it would take about")
    assert found["models"][0]["interval"][1] > 0
    assert "Cannot tell whether sft is better than base" in page(tmp_path)


def test_one_problem_is_enough_for_a_report_that_claims_nothing(tmp_path: Path) -> None:
    found = written(make_run(tmp_path, {"base": -1, "sft": 1}, n=1), tmp_path)
    assert found["comparisons"][0]["verdict"].startswith("cannot tell")


def test_a_single_model_has_a_report_without_comparisons(tmp_path: Path) -> None:
    found = written(make_run(tmp_path, {"base": 0.2}, n=20), tmp_path)
    assert found["comparisons"] == []
    assert "Comparisons" not in page(tmp_path)


def test_model_text_is_escaped_and_nothing_comes_from_outside(tmp_path: Path) -> None:
    make_run(tmp_path, {"base": 0.2}, n=20)
    answers = {"base": samples_of("base", 0.2, 20, response=HOSTILE), "sft": samples_of("sft", 0.5, 20, HOSTILE)}
    scores = write_scores(tmp_path, answers)
    written(scores, tmp_path, title=HOSTILE)
    text = page(tmp_path)
    assert "&lt;script&gt;alert(1)" in text
    tags = Tags(text).tags
    assert not {"script", "img", "link", "iframe", "object"} & {tag for tag, _ in tags}
    assert not any(name.startswith("on") or name in ("src", "href") for _, attributes in tags for name in attributes)
    assert not re.search(r"url\(|@import|https?://", text)
    markdown = (tmp_path / "report" / "report.md").read_text()
    assert "\\<script\\>" in markdown.splitlines()[0]
    assert "````text\n" in markdown  # a fence longer than the backticks in the model's text


def test_lineage_certificate_and_notes_are_read_from_what_made_the_models(tmp_path: Path) -> None:
    found = written(make_run(tmp_path, {"base": 0.15, "sft": 0.42, "rl": 0.61}, n=60), tmp_path)
    assert [entry["name"] for entry in found["lineage"]] == ["data", "base", "sft", "rl", "scores"]
    assert found["lineage"][3]["inputs"] == ["data", "sft"]
    assert {(c["line"], c["ok"]) for c in found["certificate"]} == {
        ("log-probability parity", True),
        ("contamination", False),
    }
    assert found["notes"] == [
        {"artifact": "rl", "note": "Every group of step 12 had the same reward: such groups teach nothing."}
    ]
    text = page(tmp_path)
    assert 'class="chip bad">not ok' in text
    assert "Learning curve" in text


def test_two_equal_runs_give_equal_reports_wherever_they_stand(tmp_path: Path) -> None:
    for place in ("here/run", "there/run"):
        written(make_run(tmp_path / place, {"base": 0.15, "sft": 0.42}, n=40), tmp_path / place)
    for name in ("report.json", "report.html", "report.md", "accuracy-data-test.png", "learning.png"):
        here, there = (tmp_path / place / "report" / name for place in ("here/run", "there/run"))
        assert here.read_bytes() == there.read_bytes()


def test_examples_show_problems_on_which_the_models_differ(tmp_path: Path) -> None:
    written(make_run(tmp_path, {"base": 0.15, "sft": 0.6}, n=200), tmp_path, examples=2)
    text = page(tmp_path)
    assert text.count("<article>") == 2
    first = text[text.index("<article>") : text.index("</article>")]
    assert 'class="chip bad"' in first
    assert 'class="chip good"' in first


def test_what_must_not_be_compared_is_said_and_the_rest_reported(tmp_path: Path) -> None:
    make_run(tmp_path, {"base": 0.2, "sft": 0.5}, n=30)
    first = write_scores(tmp_path, {"base": samples_of("base", 0.2, 30)}, "one")
    second = write_scores(tmp_path, {"sft": samples_of("sft", 0.5, 30)}, "two", template="plain")
    found = written([first, second], tmp_path)
    assert found["comparisons"] == []
    assert "differ in template ('chat' and 'plain')" in found["refused"][0]["reason"]
    assert "are not compared" in page(tmp_path)


def test_one_model_scored_twice_is_refused(tmp_path: Path) -> None:
    scores = make_run(tmp_path, {"base": 0.2}, n=10)
    with pytest.raises(RecipeError, match="two evaluations given to this report scored 'base'"):
        written([scores, scores], tmp_path)


def test_a_report_imports_no_torch(tmp_path: Path) -> None:
    make_run(tmp_path, {"base": 0.2, "sft": 0.5}, n=10)
    program = f"""
import sys
from pathlib import Path
from posttrain.report.config import ReportConfig
from posttrain.report.stages import report
from posttrain.stage import Workspace
from posttrain.store import Scores
run = Path({str(tmp_path)!r})
report(ReportConfig(), [Scores(run / "scores", name="scores")], Workspace(run / "report", quiet=True))
assert "torch" not in sys.modules and "transformers" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, timeout=60)
