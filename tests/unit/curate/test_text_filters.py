"""Filters that look at a row's own text."""

from __future__ import annotations

import math

import pytest
from tests.unit.curate.make import Room, trace

from posttrain.config import parse
from posttrain.curate.filters import FILTERS
from posttrain.errors import DataError, RecipeError


def test_length_is_a_window_and_its_score_the_length(room: Room) -> None:
    rows = room.responses("one", "one two three", "one two three four five")
    decision = room.filter("length", rows, min=2, max=4, unit="words")
    assert decision.score.tolist() == [1, 3, 5]
    assert decision.keep.tolist() == [False, True, False]
    assert decision.reason == ("1 words, fewer than 2", "", "5 words, more than 4")


def test_length_of_question_and_response_counts_both(room: Room) -> None:
    rows = room.rows([trace(0, "abc", question="de")])
    assert room.filter("length", rows, max=10, unit="characters", of="both").score.tolist() == [6]


def test_tokens_are_the_students_and_need_one(room: Room) -> None:
    with pytest.raises(RecipeError, match="no student"):
        room.filter("length", room.responses("a"), max=10)


@pytest.mark.parametrize("config", [{}, {"min": 5, "max": 2}])
def test_a_length_without_a_window_is_refused(config: dict[str, int]) -> None:
    with pytest.raises(RecipeError):
        parse(FILTERS["length"].config, config, "here")


def test_another_language_goes_and_formulas_stay(room: Room) -> None:
    rows = room.questions(
        "What is the number of the apples that you have in the basket?",
        "Wie viele Äpfel sind in dem Korb, und wer hat sie nicht gezählt?",
        "$x^2$",
        "Сколько яблок лежит в корзине?",
    )
    decision = room.filter("language", rows)
    assert decision.keep.tolist() == [True, False, True, False]
    assert math.isnan(decision.score[2])


def test_repetition_is_the_share_of_ngrams_said_before(room: Room) -> None:
    # 12 words, 9 different 4-grams of 9: none again. Twice the same 6 words: 9 4-grams, 3 of them again.
    fresh = "one two three four five six seven eight nine ten eleven twelve"
    twice = "one two three four five six one two three four five six"
    decision = room.filter("repetition", room.responses(fresh, twice, "short", ""), max=0.4)
    assert decision.score.tolist() == pytest.approx([0, 3 / 9, 0, 0])
    assert decision.keep.all()
    assert room.kept("repetition", room.responses(fresh, twice), max=0.3) == [0]


def test_a_text_that_ends_in_a_loop_goes_however_long_it_was(room: Room) -> None:
    varied = " ".join(f"word{chr(97 + i % 26)}{chr(97 + i // 26)}" for i in range(200))
    loop = varied + " so the answer is" * 5
    decision = room.filter("repetition", room.responses(varied, loop, loop + " so the"), max=0.9)
    assert decision.keep.tolist() == [True, False, False]
    assert decision.reason[1] == "ends in the same 4 words 4 times or more"
    assert decision.score.tolist()[1:] == [1, 1]


def test_what_was_cut_off_goes(room: Room) -> None:
    rows = room.rows(
        [
            trace(0),
            trace(1, finish_reason="length"),
            trace(2, "<think> and so on"),
            trace(3, "<think> so </think> 1", finish_reason=None),
        ]
    )
    decision = room.filter("truncated", rows)
    assert decision.keep.tolist() == [True, False, False, True]
    assert decision.reason[1:3] == ("ended at the limit of tokens", "a thought in it is never closed")


@pytest.mark.parametrize(
    "response",
    [
        "I'm sorry, but I can't help with that.",
        "I’m sorry, but I cannot assist with this request.",
        "As an AI language model, I do not have feelings.",
        "<think>Should I?</think>I cannot provide an answer to this.",
        "I am unable to solve this problem as stated.",
    ],
)
def test_declining_is_recognised(room: Room, response: str) -> None:
    assert room.kept("refusal", room.responses(response)) == []


@pytest.mark.parametrize(
    "response",
    [
        "We cannot divide by zero, so x = 2. The answer is 2.",
        "<think>I'm sorry, I can't see it. Wait, I can.</think>The answer is 4.",
        "Tom is sorry that he can't pay. He has 3 dollars left.",
    ],
)
def test_mathematics_that_cannot_is_no_refusal(room: Room, response: str) -> None:
    assert room.kept("refusal", room.responses(response)) == [0]


@pytest.mark.parametrize(
    ("question", "why"),
    [
        ("Find x. [asy] draw((0,0)--(1,1)); [/asy]", "has a drawing"),
        ("![a triangle](t.png) What is its area?", "has a drawing"),
        ("In the diagram below, what is angle ABC?", "points at a picture"),
        ("The figure shows a circle of radius 3. Find its area.", "points at a picture"),
        ("What is the area of the shaded region, as shown in the figure?", "points at a picture"),
    ],
)
def test_problems_that_need_a_picture_go(room: Room, question: str, why: str) -> None:
    (reason,) = room.filter("images", room.questions(question)).reason
    assert reason.startswith(why)


def test_a_figure_of_speech_is_no_picture(room: Room) -> None:
    rows = room.questions(
        "Tom draws 3 pictures a day. How many in a week?", "She earns a six figure salary. How much is it?"
    )
    assert room.kept("images", rows) == [0, 1]
    drawn = room.questions("[asy] draw(0); [/asy]")
    assert room.kept("images", drawn, drawings=False) == [0]


def test_a_window_of_a_column(room: Room) -> None:
    rows = room.rows([trace(i, reward=value) for i, value in enumerate([0.1, 0.5, 0.9])])
    decision = room.filter("score", rows, column="reward", min=0.2, max=0.8)
    assert decision.keep.tolist() == [False, True, False]
    assert decision.reason[2] == "reward is 0.9"
    rows = room.rows([trace(i, extra={"cost": i}) for i in range(3)])
    assert room.kept("score", rows, column="extra.cost", max=1) == [0, 1]


def test_scores_that_are_no_numbers_are_refused_or_dropped_on_purpose(room: Room) -> None:
    rows = room.rows([trace(i, reward=value) for i, value in enumerate([0.1, math.nan, None, 0.9])])
    with pytest.raises(DataError, match=r"2 of 4 rows have no number .* row 1"):
        room.filter("score", rows, column="reward", min=0)
    assert room.kept("score", rows, column="reward", min=0, missing="drop") == [0, 3]
    assert room.kept("score", rows, column="reward", min=0.5, missing="keep") == [1, 2, 3]
    with pytest.raises(DataError, match=r"no column 'rewards'. Did you mean 'reward'"):
        room.filter("score", rows, column="rewards", min=0)
    with pytest.raises(DataError, match="holds str"):
        room.filter("score", rows, column="question", min=0)
