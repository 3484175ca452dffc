"""Filters that ask a grader."""

from __future__ import annotations

import pytest
from tests.unit.curate.make import Room, trace

from posttrain.config import parse
from posttrain.curate.filters import FILTERS
from posttrain.errors import DataError, GradingError
from posttrain.records import Verdict


def test_wrong_answers_go_and_say_what_was_answered(room: Room) -> None:
    rows = room.responses("The answer is 1.", "The answer is 2.", "I don't know")
    decision = room.filter("correct", rows)
    assert decision.keep.tolist() == [True, False, False]
    assert decision.reason[1] == "wrong: answered '2', gold '1'"
    assert decision.notes["verdicts"] == {"correct": 1, "wrong": 1, "no_answer": 1}
    assert sorted(decision.verdicts) == [0, 1, 2]


def test_a_verdict_that_stands_is_believed_unless_asked_again(room: Room) -> None:
    wrong = Verdict(False, True, "1", "wrong")
    rows = room.rows([trace(0, verdict=wrong), trace(1)])
    assert room.kept("correct", rows) == [1]
    assert room.kept("correct", rows, regrade=True) == [0, 1]


def test_undecided_is_not_correct_unless_said(room: Room) -> None:
    rows = room.rows([trace(0, verdict=Verdict(None, True, "x", "timeout"))])
    assert room.kept("correct", rows) == []
    assert room.kept("correct", rows, undecided="keep") == [0]


def test_what_was_graded_is_not_graded_again(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = room.responses("The answer is 1.", "The answer is 2.")
    first = room.filter("correct", rows)
    journal = room.tools.state / "verdicts-gsm8k.jsonl"
    journal.write_bytes(journal.read_bytes() + b'["torn')  # as a killed process leaves it
    monkeypatch.setattr("posttrain.curate.tools.grade_many", lambda items, spec: pytest.fail("graded again"))
    assert room.filter("correct", rows).keep.tolist() == first.keep.tolist()


def test_rows_without_gold_cannot_be_graded(room: Room) -> None:
    with pytest.raises(
        DataError, match=r"1 of 2 rows have neither a verdict nor a gold answer, the first is row 1 \(p1\)"
    ):
        room.filter("correct", room.rows([trace(0), trace(1, gold=None)]))


def test_an_unknown_grader_is_told_before_any_work(room: Room) -> None:
    entry = FILTERS["correct"]
    with pytest.raises(GradingError):
        entry.prepare(parse(entry.config, {"grading": "gsm9k"}, "here"), room.tools)


@pytest.mark.parametrize(
    ("style", "response", "why"),
    [
        ("think", "<think> so </think> 1", ""),
        ("think", "so </think> 1", ""),
        ("think", "1", "no </think>"),
        ("think", "<think> so </think>", "nothing behind the thought"),
        ("think", "<think> a </think> b <think> c </think> d", "more than one thought"),
        ("r1_zero", "so </think> <answer> 1 </answer>", ""),
        ("r1_zero", "so </think> 1", "no <answer>…</answer> right behind the thought"),
        ("r1_zero", "so </think> <answer> </answer>", "an empty <answer>"),
        ("boxed", "<think> so </think> \\boxed{1}", ""),
        ("boxed", "<think> \\boxed{1} </think> 1", "no \\boxed{} behind the thought"),
    ],
)
def test_the_form_of_a_response(room: Room, style: str, response: str, why: str) -> None:
    assert room.filter("format", room.responses(response), style=style).reason == (why,)


def test_the_graders_own_form(room: Room) -> None:
    assert room.kept("format", room.responses("The answer is 1.", "1")) == [0]


def test_traces_that_agree_stay(room: Room) -> None:
    said = ["1", "1", "2", "3", "3", None]
    answers = [f"The answer is {a}." if a else "Who knows" for a in said]
    rows = room.rows(
        [trace(0, text, index=i) for i, text in enumerate(answers)] + [trace(1, "The answer is 9."), trace(2, "none")]
    )
    decision = room.filter("agreement", rows, min=0.4)
    assert decision.keep.tolist() == [False] * 6 + [True, True]  # two answers with as many votes: no majority
    assert decision.reason[0] == "2 of 5 traces give its answer, and as many another"
    assert decision.reason[2] == "1 of 5 traces give its answer, 2 another"
    assert decision.reason[5] == "has no answer"
    assert room.kept("agreement", rows.take(decision.keep), alone="drop") == []


def test_a_majority_must_be_large_enough(room: Room) -> None:
    rows = room.rows([trace(0, f"The answer is {a}.", index=i) for i, a in enumerate([7, 7, 8, 9])])
    assert room.kept("agreement", rows, min=0.5) == [0, 1]
    assert room.kept("agreement", rows, min=0.6) == []


def test_answers_that_the_grader_calls_equal_are_one(room: Room) -> None:
    rows = room.rows(
        [trace(0, f"The answer is {a}.", index=i, gold="1000") for i, a in enumerate(["1,000", "1000.0", "3"])]
    )
    assert room.kept("agreement", rows) == [0, 1]


def test_problems_have_no_traces_to_agree(room: Room) -> None:
    with pytest.raises(DataError, match="problems have none"):
        room.filter("agreement", room.questions("1 + 1?"))
