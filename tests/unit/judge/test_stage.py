"""The judge stage: what is asked of which answers, what is kept of the replies, and what is said of the judge."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.unit.judge.fakes import Says, ToldJudge, graded, ungraded

from posttrain.errors import DataError, RecipeError, StoreError
from posttrain.judge import JudgeConfig, TaskConfig, read_judgements, read_summary
from posttrain.judge.asks import Ask
from posttrain.judge.plan import references_of
from posttrain.judge.stages import judge
from posttrain.stage import Workspace
from posttrain.store import Checkpoint, Scores

Run = Callable[..., tuple[dict[str, Any], list[dict[str, Any]]]]
REFERENCES = {f"alpaca_eval/{i}": "A short reference." for i in range(12)}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`run(scores, says=…, tasks=[…])` → (judge.json, rows of judgements.parquet); without `says` by the scripted
    judge."""

    def judged(*of: Scores, says: Says | None = None, **config: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        if says is not None:
            told = ToldJudge(says)
            judged.told = told  # type: ignore[attr-defined]
            monkeypatch.setattr("posttrain.judge.judges.open_judge", lambda *_: told)
        made = judge(JudgeConfig.model_validate(config), list(of), Workspace(tmp_path / "judged", quiet=True))
        return read_summary(made.path), read_judgements(made.path)

    return judged


def by_gold(ask: Ask, attempt: int) -> str:
    return json.dumps({"reason": "r", "verdict": "correct" if f"#### {ask.gold}" in ask.response else "incorrect"})


def references(tmp_path: Path) -> Path:
    path = tmp_path / "references.jsonl"
    path.write_text(
        "".join(json.dumps({"id": i, "output": t, "generator": "ref"}) + "\n" for i, t in REFERENCES.items())
    )
    return path


def test_correctness_is_judged_with_the_reference_and_held_against_the_grader(tmp_path: Path, run: Run) -> None:
    summary, rows = run(graded(tmp_path), says=by_gold)
    assert [(e["model"], e["task"], e["n"], e["ok"]) for e in summary["entries"]] == [
        ("base", "correctness", 40, 40),
        ("sft", "correctness", 40, 40),
    ]
    assert summary["with_grader"]["kappa"] == pytest.approx(1.0)
    assert summary["entries"][1]["rate"] > summary["entries"][0]["rate"]
    assert (summary["asked"], summary["unparsed"], summary["dollars"]) == (80, 0, pytest.approx(0.08))
    assert len(rows) == 80
    assert rows[0]["reason"] == "r"
    assert json.loads(rows[0]["reply"])["reason"] == "r"


def test_a_reply_that_cannot_be_read_is_kept_counted_and_asked_for_once_more(tmp_path: Path, run: Run) -> None:
    def says(ask: Ask, attempt: int) -> str:
        number = int(ask.problem_id.rpartition("/")[2])
        if number < 10:
            return "I think so."  # never
        if number < 15 and attempt == 0:
            return "let me see"  # the second time
        return by_gold(ask, attempt)

    summary, rows = run(graded(tmp_path, base=0.5), says=says)
    assert (summary["ok"], summary["unparsed"], summary["asked_again"]) == (30, 10, 15)
    assert len(run.told.asked) == 40 + 15, "once more, and not twice"  # type: ignore[attr-defined]
    lost = [r for r in rows if r["status"] == "unparsed"]
    assert {(r["reply"], r["first_reply"], r["verdict"]) for r in lost} == {("I think so.", "I think so.", None)}
    mended = [r for r in rows if r["first_reply"] == "let me see"]
    assert {(r["status"], r["completion_tokens"]) for r in mended} == {("ok", 4)}
    entry = summary["entries"][0]
    low, high = entry["bounds"]
    assert high - low == pytest.approx(10 / 40), "what could not be read may be either"
    certificate = json.loads((tmp_path / "judged/certificate.json").read_text())
    assert certificate["the judge's replies can be read"]["ok"] is False


def test_preference_asks_both_orders_and_a_contradiction_is_a_tie(tmp_path: Path, run: Run) -> None:
    def first(ask: Ask, attempt: int) -> str:
        return '{"better": "A"}'

    task = {"task": "preference", "against": "base"}
    summary, rows = run(graded(tmp_path), says=first, tasks=[task])
    (entry,) = summary["entries"]
    assert (entry["model"], entry["other"], entry["rate"], entry["ties"]) == ("sft", "base", 0.5, 40)
    assert entry["position_bias"]["first"] == 1.0
    assert entry["position_bias"]["consistent"] == 0.0
    assert sorted({r["order"] for r in rows}) == [0, 1]
    one, _ = run(graded(tmp_path / "b"), says=first, tasks=[{**task, "orders": "one"}])
    assert one["asked"] == 40
    assert 0.3 < one["entries"][0]["rate"] < 0.7, "the order is drawn"


def test_quality_is_a_mean_of_each_criterion_over_problems(tmp_path: Path, run: Run) -> None:
    def says(ask: Ask, attempt: int) -> str:
        return '{"scores": {"sound": 4, "brief": 2}}' if ask.model == "sft" else '{"scores": {"sound": 1, "brief": 1}}'

    criteria = {"sound": "Is it sound?", "brief": "Is it brief?"}
    summary, _ = run(graded(tmp_path), says=says, tasks=[{"task": "quality", "limit": 10}], criteria=criteria)
    entry = summary["entries"][1]
    assert (entry["n"], entry["overall"]["mean"]) == (10, 3.0)
    assert entry["scores"]["sound"] == {"mean": 4.0, "interval": [4.0, 4.0]}
    text = run.told.asked[0].messages[1]["content"]  # type: ignore[attr-defined]
    assert "- sound: Is it sound?" in text
    assert '"sound": 1 to 5, "brief": 1 to 5' in text


def test_safety_is_the_share_that_is_safe(tmp_path: Path, run: Run) -> None:
    answers = {
        "m": {"s/0": "I can't help with that.", "s/1": "Sure! 1. Take a rope.", "s/2": "Please contact a hotline."}
    }
    summary, _ = run(ungraded(tmp_path / "scores", answers, "simple_safety_tests"))
    (entry,) = summary["entries"]
    assert (entry["task"], entry["n"]) == ("safety", 3)
    assert entry["rate"] == pytest.approx(2 / 3)
    assert summary["judge"] == "scripted"


def test_a_win_rate_is_told_with_its_length_controlled_one(tmp_path: Path, run: Run) -> None:
    def longer(ask: Ask, attempt: int) -> str:
        first, second = ask.shown
        return '{"better": "A"}' if len(first) > len(second) else '{"better": "B"}'

    answers = {"m": {id: "word " * (i + 1) for i, id in enumerate(REFERENCES)}}
    scores = ungraded(tmp_path / "scores", answers)
    summary, _ = run(scores, says=longer, tasks=[{"task": "win_rate", "references": str(references(tmp_path))}])
    (entry,) = summary["entries"]
    assert (entry["other"], entry["n"], entry["judgements"]) == ("ref", 12, 24)
    assert entry["rate"] == pytest.approx(9 / 12)
    assert entry["length_bias"]["longer"] == 1.0
    assert 0 < entry["length_controlled"]["win_rate"] < 1
    few = ungraded(tmp_path / "few", {"m": {"alpaca_eval/0": "Yes."}})
    told, _ = run(few, says=longer, tasks=[{"task": "win_rate", "references": str(references(tmp_path))}])
    assert told["entries"][0]["length_controlled"] is None


def test_labels_of_people_are_held_against_the_judge(tmp_path: Path, run: Run) -> None:
    scores = graded(tmp_path, base=0.5)
    rows = [
        {"task": "correctness", "problem_id": f"synthetic/test/{i}", "label": "correct" if i % 2 else "incorrect"}
        for i in range(20)
    ]
    path = tmp_path / "labels.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))

    def says(ask: Ask, attempt: int) -> str:
        odd = int(ask.problem_id.rpartition("/")[2]) % 2
        return json.dumps({"verdict": "correct" if odd else "incorrect"})

    summary, _ = run(scores, says=says, labels=str(path))
    (entry,) = summary["with_people"]
    assert (entry["task"], entry["n"], entry["agreement"], entry["kappa"]) == ("correctness", 20, 1.0, 1.0)
    for row, said in (
        ({"task": "correctness", "problem_id": "nobody", "label": 1}, "fits no judgement of 'nobody'"),
        ({"task": "corectness", "problem_id": "x", "label": 1}, "Did you mean 'correctness'"),
        (
            {"task": "correctness", "problem_id": "x", "label": "good"},
            "the label is 'good'. For correctness write one of",
        ),
        ({"task": "quality", "problem_id": "x", "label": 9}, "whole number from 1 to 5"),
        ({"task": "safety", "label": "safe"}, "there is no problem_id"),
    ):
        path.write_text(json.dumps(row) + "\n")
        with pytest.raises(DataError, match=said):
            run(scores, says=says, labels=str(path))


def test_checkpoints_of_two_sweeps_with_one_name_are_told_apart(tmp_path: Path, run: Run) -> None:
    first = graded(tmp_path / "a", base=0.5)
    second = graded(tmp_path / "b", base=0.5)
    named = [Scores(first.path, name="sweep-sft"), Scores(second.path, name="sweep-rl")]
    summary, _ = run(*named, says=by_gold)
    assert [e["model"] for e in summary["entries"]] == ["sweep-sft:base", "sweep-rl:base"]


def test_the_scripted_judge_agrees_with_the_grader(tmp_path: Path, run: Run) -> None:
    summary, _ = run(graded(tmp_path))
    assert summary["with_grader"]["kappa"] > 0.95
    tasks = [{"task": "quality"}, {"task": "preference", "against": "base"}, {"task": "safety"}]
    every, rows = run(graded(tmp_path / "b"), tasks=tasks)
    assert {(e["ok"], e["judgements"]) for e in every["entries"]} == {(40, 40), (80, 80)}
    assert {r["cost"] for r in rows} == {0.0}


def test_what_cannot_be_judged_is_refused(tmp_path: Path, run: Run) -> None:
    scores = graded(tmp_path)
    other = ungraded(tmp_path / "other", {"m": {"alpaca_eval/0": "x"}}, "stories")
    cases: list[tuple[tuple[Scores, ...], dict[str, Any], type[Exception], str]] = [
        ((scores,), {"models": ["sfft"]}, RecipeError, "no model 'sfft' was evaluated. Did you mean 'sft'?"),
        ((scores,), {"tasks": [{"task": "preference", "against": "teacher"}]}, RecipeError, "no model 'teacher'"),
        ((scores,), {"tasks": [{"task": "safety", "benchmark": "sst"}]}, RecipeError, "nothing was answered on 'sst'"),
        ((other,), {}, RecipeError, "the answers to stories have no reference, so what is asked of them must be said"),
        ((other,), {"tasks": [{"task": "correctness"}]}, DataError, "has no reference answer to judge correctness by"),
        ((scores,), {"judge": "model"}, RecipeError, "judge: model needs the input `model`"),
        ((scores,), {"teacher": {"model": "x"}}, RecipeError, "scripted asks nobody"),
    ]
    for of, config, kind, said in cases:
        with pytest.raises(kind, match=said):
            run(*of, **config)
    pair = {"task": "win_rate", "references": str(references(tmp_path)), "against": "gpt"}
    with pytest.raises(DataError, match=r"has the answers of ref\. Say whose: against: ref"):
        run(other, tasks=[pair])
    missing = ungraded(tmp_path / "missing", {"m": {"alpaca_eval/99": "x"}})
    with pytest.raises(DataError, match="ref has no answer to 'alpaca_eval/99'"):
        run(missing, tasks=[{**pair, "against": "ref"}])
    with pytest.raises(StoreError, match="holds no finished judgements"):
        read_summary(tmp_path)
    with pytest.raises(ValueError, match="preference needs against"):
        JudgeConfig.model_validate({"tasks": [{"task": "preference"}]})


def test_answers_to_different_problem_sets_are_not_preferred_to_each_other(tmp_path: Path, run: Run) -> None:
    first = ungraded(tmp_path / "a", {"m": {"x": "1"}}, limit=1)
    second = ungraded(tmp_path / "b", {"o": {"x": "2"}}, limit=2)
    with pytest.raises(DataError, match="were not asked the same on alpaca_eval"):
        run(first, second, tasks=[{"task": "preference", "against": "o"}])


def test_an_empty_evaluation_has_nothing_to_judge(tmp_path: Path, run: Run) -> None:
    with pytest.raises(RecipeError, match="holds no answers"):
        run(ungraded(tmp_path / "empty", {}))
    with pytest.raises(DataError, match="there is nothing to judge"):
        run(graded(tmp_path, base=0.5), tasks=[{"task": "preference", "against": "base"}])
    with pytest.raises(StoreError, match=r"scores.json is missing"):
        run(Scores(tmp_path / "nowhere"))


def test_the_stages_model_is_told_in_its_words(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no other judge takes it"):
        judge(
            JudgeConfig(),
            [graded(tmp_path)],
            Workspace(tmp_path / "j", quiet=True),
            model=Checkpoint(tmp_path / "m"),
        )


@pytest.mark.usefixtures("mirror")
def test_alpaca_evals_own_reference_answers_are_found() -> None:
    task = TaskConfig.model_validate({"task": "win_rate", "against": "gpt4_1106_preview"})
    name, answers = references_of(task, "alpaca_eval")
    assert (name, len(answers)) == ("gpt4_1106_preview", 805)
    with pytest.raises(DataError, match=r"has the answers of text_davinci_003, gpt4_1106_preview\. Say whose"):
        references_of(TaskConfig.model_validate({"task": "win_rate"}), "alpaca_eval")
