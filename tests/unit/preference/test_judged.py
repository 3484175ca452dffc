"""Pairs by what a judge said of an evaluation's answers: judge → pairs, as the stages run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.unit.judge.fakes import Says, ToldJudge, graded, ungraded

from posttrain.errors import DataError, RecipeError
from posttrain.judge.asks import Ask
from posttrain.judge.config import JudgeConfig
from posttrain.judge.stages import judge
from posttrain.preference.config import PairsConfig
from posttrain.preference.pairs import read_pairs
from posttrain.preference.stages import pairs
from posttrain.records import Sample
from posttrain.stage import Workspace
from posttrain.store import Judgements, Samples, Scores

ANSWERS = {
    "a": {"x/0": "short", "x/1": "a long answer, with reasons", "x/2": "same"},
    "b": {"x/0": "a much longer answer", "x/1": "no", "x/2": "same"},
}


def judged(scores: Scores, folder: Path, says: Says, monkeypatch: pytest.MonkeyPatch, **config: Any) -> Judgements:
    monkeypatch.setattr("posttrain.judge.judges.open_judge", lambda *_: ToldJudge(says))
    return judge(JudgeConfig.model_validate(config), [scores], Workspace(folder, quiet=True))


def made(folder: Path, scores: Scores, opinions: list[Judgements] | None, **config: Any) -> list[tuple[Sample, Sample]]:
    found = pairs(PairsConfig(by="judge", **config), [scores], Workspace(folder, quiet=True), opinions)
    return read_pairs(found.read())


def by_length(ask: Ask, attempt: int) -> str:
    value = min(5, 1 + len(ask.response) // 8)
    return json.dumps({"reason": "r", "scores": {"soundness": value, "clarity": value}})


def the_longer(ask: Ask, attempt: int) -> str:
    first, second = ask.shown
    better = "tie" if len(first) == len(second) else "A" if len(first) > len(second) else "B"
    return json.dumps({"reason": "r", "better": better})


def right_by_gold(ask: Ask, attempt: int) -> str:
    return json.dumps({"reason": "r", "verdict": "correct" if f"#### {ask.gold}" in ask.response else "incorrect"})


@pytest.mark.parametrize(
    ("says", "task"),
    [
        (by_length, {"task": "quality"}),
        (the_longer, {"task": "preference", "against": "b"}),
    ],
)
def test_the_answer_that_the_judge_likes_better_is_chosen(
    says: Says, task: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = ungraded(tmp_path / "scores", ANSWERS, benchmark="x")
    criteria = {"soundness": "Is it sound?", "clarity": "Is it clear?"}
    opinions = judged(scores, tmp_path / "judged", says, monkeypatch, tasks=[task], criteria=criteria)
    found = {c.problem_id: (c.response, r.response) for c, r in made(tmp_path / "pairs", scores, [opinions])}
    assert found == {
        "x/0": (ANSWERS["b"]["x/0"], ANSWERS["a"]["x/0"]),
        "x/1": (ANSWERS["a"]["x/1"], ANSWERS["b"]["x/1"]),
    }


def test_a_verdict_of_the_judge_makes_pairs_of_right_and_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = graded(tmp_path)
    opinions = judged(scores, tmp_path / "judged", right_by_gold, monkeypatch)
    found = made(tmp_path / "pairs", scores, [opinions])
    assert found
    assert all((chosen.reward, rejected.reward) == (1.0, 0.0) for chosen, rejected in found)
    plain = pairs(PairsConfig(), [scores], Workspace(tmp_path / "plain", quiet=True))
    assert len(read_pairs(plain.read())) == len(found), "the grader of the evaluation says the same"


def test_what_does_not_belong_together_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = graded(tmp_path, 4)
    with pytest.raises(RecipeError, match=r"by: judge and the input `judged`.*belong together"):
        made(tmp_path / "none", scores, None)
    opinions = judged(scores, tmp_path / "judged", right_by_gold, monkeypatch)
    with pytest.raises(RecipeError, match="belong together"):
        pairs(PairsConfig(), [scores], Workspace(tmp_path / "unread", quiet=True), [opinions])
    found = Samples(scores.path / "base" / "data-test")
    with pytest.raises(DataError, match="a judge looks at evaluations"):
        pairs(PairsConfig(by="judge"), [found], Workspace(tmp_path / "samples", quiet=True), [opinions])
    others = ungraded(tmp_path / "others", ANSWERS)
    with pytest.raises(DataError, match="the judge said nothing of any of the 6 answers"):
        made(tmp_path / "others-pairs", others, [opinions])
    tasks = [{"task": "quality"}, {"task": "correctness"}]
    both = judged(scores, tmp_path / "both", right_by_gold, monkeypatch, tasks=tasks)
    with pytest.raises(DataError, match=r"several tasks \(correctness, quality\)|nothing of any"):
        made(tmp_path / "both-pairs", scores, [both])
