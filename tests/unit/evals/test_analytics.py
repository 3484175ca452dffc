"""What answers look like: marks, repetition, scripts, stated answers, agreement, calibration, over checkpoints."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posttrain.errors import DataError
from posttrain.evals.analytics import (
    MEASURES,
    agreement,
    calibrate,
    count_marks,
    find_marks,
    foreign_share,
    loop_length,
    profile,
    repeated_share,
    scripts,
    series_over_steps,
    solved_over_steps,
    stated_answers,
)
from posttrain.evals.analytics.profile import as_json
from posttrain.records import Sample, Verdict


def sample(problem: int, index: int, text: str, *, correct: bool | None = True, extracted: str | None = "4") -> Sample:
    verdict = Verdict(correct, True, extracted, "correct" if correct else "wrong")
    ids = tuple(range(len(text)))
    return Sample(f"p/{problem}", index, "What is 2 + 2?", text, "m", gold="4", token_ids=ids, verdict=verdict)


def test_marks_say_where_they_stand_and_of_what_kind_they_are() -> None:
    text = "So 3. Wait, that\u2019s wrong. Alternatively, let me double-check: waiting is no mark."
    marks = find_marks(text)
    assert [(text[m.start : m.end].lower(), m.kind) for m in marks] == [
        ("wait", "check"),
        ("that\u2019s wrong", "correct"),
        ("alternatively", "alternative"),
        ("let me double-check", "check"),
    ]
    assert count_marks(text) == {"check": 2, "correct": 1, "alternative": 1}
    assert count_marks("") == {"check": 0, "correct": 0, "alternative": 0}


@given(st.text(max_size=300))
def test_marks_lie_in_the_text_in_order_and_apart(text: str) -> None:
    marks = find_marks(text)
    assert all(0 <= m.start < m.end <= len(text) for m in marks)
    assert all(a.end <= b.start for a, b in itertools.pairwise(marks))


def test_repetition_counts_what_stood_before() -> None:
    assert repeated_share("one two three four five six") == 0.0
    assert repeated_share("a b c d a b c d") == pytest.approx(1 / 5)  # of five 4-grams one comes twice
    assert repeated_share("too short") == 0.0


def test_a_loop_is_told_by_its_end_and_dots_are_none() -> None:
    assert loop_length("Hm, " + "The answer is 4. " * 8) == 8 * 5
    assert loop_length("Hm, " + "The answer is 4. " * 8 + "The answer") == 8 * 5 + 2
    assert loop_length("Well ... and so on ...") == 0
    assert loop_length("no no no") == 0
    assert loop_length("") == 0


def test_scripts_are_counted_and_foreign_ones_told_from_the_question() -> None:
    assert scripts("abc где 数学 12 + √") == {"latin": 3, "cyrillic": 3, "han": 2}
    assert foreign_share("The sum 所以 is", "What is it?") == pytest.approx(2 / 10)
    assert foreign_share("angle α and β", "What is it?") == 0.0
    assert foreign_share("数学", "数学 question") == 0.0
    assert foreign_share("12 + 3", "What?") == 0.0
    assert foreign_share("数学 ok", "1 + 1?") == 0.5


@given(st.text())
def test_any_text_has_scripts_and_a_share_between_0_and_1(text: str) -> None:
    assert sum(scripts(text).values()) <= len(text)
    assert 0 <= foreign_share(text, "question") <= 1


@pytest.mark.parametrize(
    ("text", "stated"),
    [
        (r"First \boxed{5}. No, \boxed{\frac{1}{2}}.", ["5", r"\frac{1}{2}"]),
        ("The answer is 5. Wait. The answer is 6.", ["5", "6"]),
        ("The answer is 5. So the answer is 5.", ["5"]),
        ("<answer>7</answer>", ["7"]),
        ("so\n#### 1,234", ["1234"]),
        (r"The answer is \boxed{3.5}.", ["3.5"]),
        (r"never closed \boxed{5", []),
        ("nothing", []),
    ],
)
def test_stated_answers_come_in_order(text: str, stated: list[str]) -> None:
    assert stated_answers(text) == stated


def test_agreement_is_the_commonest_answers_share_and_silence_agrees_with_nothing() -> None:
    found = agreement(["4", "4", "5", None])
    assert (found.share, found.distinct, found.majority) == (0.5, 3, "4")
    assert found.entropy == pytest.approx(-0.5 * math.log(0.5) - 2 * 0.25 * math.log(0.25))
    assert agreement([None, None]).share == 0.0
    with pytest.raises(DataError, match="at least one sample"):
        agreement([])


def test_calibration_is_the_formula_of_guo_et_al() -> None:
    found = calibrate([0.25, 0.25, 0.75, 1.0], [False, True, True, True], bins=4)
    assert found.error == pytest.approx(2 / 4 * abs(0.25 - 0.5) + 1 / 4 * 0.25 + 0)
    assert found.brier == pytest.approx(np.mean([0.25**2, 0.75**2, 0.25**2, 0.0]))
    assert [(low, n) for low, _, n, _, _ in found.bins] == [(0.0, 2), (0.5, 1), (0.75, 1)]
    assert calibrate([0.7], [True]).bins[0][:2] == (0.6, 0.7), "a bin holds its upper end"
    with pytest.raises(DataError, match="between 0 and 1"):
        calibrate([1.5], [True])
    with pytest.raises(DataError, match="one confidence per outcome"):
        calibrate([], [])


def test_solved_forgotten_and_flipping_problems() -> None:
    # Half right is solved, as on the explorer's map.
    found = solved_over_steps([[0, 1, 0, 0.25], [1, 1, 0.25, 0.5], [0, 1, 0, 1.0]])
    assert found.first.tolist() == [1, 0, -1, 1]
    assert found.forgotten.tolist() == [True, False, False, False]
    assert found.flips.tolist() == [2, 0, 0, 1]
    assert (found.gained.tolist(), found.lost.tolist()) == ([2, 0], [0, 1])
    with pytest.raises(DataError, match="shape"):
        solved_over_steps([1, 0])


def test_a_profile_averages_over_problems_first() -> None:
    samples = [
        sample(0, 0, "Wait, 2 + 2 = 4."),
        sample(0, 1, "2 + 2 = 4."),
        sample(1, 0, "It is 5.", correct=False, extracted="5"),
        sample(1, 1, "It is 6 所以.", correct=False, extracted="6"),
    ]
    found = profile(samples)
    assert list(found) == [m for m in MEASURES if m in found]
    assert found["check"][0] == pytest.approx(0.25)
    assert found["tokens_correct"][0] == pytest.approx((16 + 10) / 2)
    assert found["mixes_scripts"][0] == pytest.approx(0.25)
    assert found["agreement"][0] == pytest.approx((1.0 + 0.5) / 2)
    assert found["calibration_error"][0] == pytest.approx(0.5 / 2)  # at agreement ½ the majority is wrong
    low, high = found["check"][1:]
    assert low <= 0.25 <= high
    assert "agreement" not in profile([sample(0, 0, "4")]), "one sample agrees with nothing"


def test_series_have_gaps_where_a_measure_does_not_apply() -> None:
    wrong = profile([sample(0, 0, "5", correct=False), sample(1, 0, "5", correct=False)])
    right = profile([sample(0, 0, "4"), sample(1, 0, "4")])
    series = series_over_steps([wrong, right])
    assert series["tokens_correct"].value == (None, 1.0)
    told = as_json([10, 20], [wrong, right])
    assert told["steps"] == [10, 20]
    assert told["series"]["tokens"]["value"] == [1.0, 1.0]
    assert told["series"]["tokens"]["means"] == MEASURES["tokens"]
