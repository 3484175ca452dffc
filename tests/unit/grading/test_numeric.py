"""Numeric answers: what counts as naming a number, and when two are the same."""

from __future__ import annotations

import pytest

from posttrain.errors import GradingError
from posttrain.grading import check_gold, grade, grade_many
from posttrain.records import Problem


def judged(gold: str | None, response: str, spec: str = "gsm8k", truncated: bool = False) -> tuple[bool | None, str]:
    verdict = grade(Problem("p", "?", gold), response, spec, truncated=truncated)
    return verdict.correct, verdict.reason


@pytest.mark.parametrize(
    "response",
    [
        "The answer is 1234.",
        "so 5 + 2 …\n#### 1,234",
        r"\boxed{1234}",
        r"Thus $\boxed{1{,}234}$.",
        r"\boxed{\$1,234.00}",
        r"\boxed{1\,234}",
        "<think>it is 7</think> <answer>1234</answer>",
        "First 3 apples, then 1234",
        "The answer is: 1234 apples for 2 dollars.",
        "The answer is **$1,234**.",
        "Answer: 617 * 2 = 1234",
        "The answer is 9. No, the answer is 1234.",
        "#### 1234<|im_end|>\n<|im_start|>user\n#### 9",
        r"\boxed{\frac{2468}{2}}",
    ],
)
def test_one_number_is_found_in_its_many_clothes(response: str) -> None:
    assert judged("1234", response) == (True, "correct")


@pytest.mark.parametrize(
    ("gold", "response", "correct"),
    [
        ("0.5", "The answer is 1/2", True),
        ("1/3", "The answer is 0.33", False),
        ("50", r"\boxed{50\%}", True),
        ("0.5", "#### 50%", True),
        ("-3", "The answer is −3", True),
        ("3", "The answer is -3", False),
        ("1234", r"\boxed{1,23,4}", False),
        ("3", r"\boxed{3 or 4}", False),
        ("4", r"\boxed{3 or 4}", False),
        ("3", r"\boxed{1,2,3}", False),
        ("1000000", "#### 1e6", True),
        ("Natalia sold 48/2 = <<48/2=24>>24.\n#### 72", "#### 72", True),
        ("0", "#### 0.0", True),
        ("5", "#### 15", False),
    ],
)
def test_comparison_is_exact(gold: str, response: str, correct: bool) -> None:
    assert judged(gold, response)[0] is correct


def test_an_answer_inside_the_thoughts_does_not_count() -> None:
    assert judged("5", "<think>the answer is 5</think>") == (False, "no_answer")
    assert judged("5", "<think>the answer is \\boxed{5}") == (False, "truncated")
    assert judged("5", "<think>a</think> 4 <think>the answer is 5") == (False, "truncated")
    assert judged("5", "it is four</think> The answer is 5") == (True, "correct")


def test_a_text_that_was_cut_off_counts_only_where_its_answer_is_marked_and_finished() -> None:
    assert judged("5", "we add 2 and 5", truncated=True) == (False, "truncated")
    assert judged("5", "The answer is 5", truncated=True) == (False, "truncated")  # could have gone on as 57
    assert judged("5", r"So \boxed{5}. To check, we", truncated=True) == (True, "correct")
    assert judged("5", "The answer is 5. To check, we", truncated=True) == (True, "correct")


def test_strict_gsm8k_reads_only_the_hashes() -> None:
    assert judged("42", "The answer is 42", "gsm8k_strict") == (False, "no_answer")
    assert judged("42", "It is #### 42 dollars.", "gsm8k_strict") == (True, "correct")


def test_exact_compares_the_stripped_text() -> None:
    assert judged("left", " left\n", "exact") == (True, "correct")
    assert judged("left", "Left", "exact") == (False, "wrong")


def test_an_empty_gold_makes_nothing_correct_and_is_named_at_load() -> None:
    for gold in (None, "", " "):
        assert judged(gold, r"\boxed{}") == (False, "no_gold")
        assert "empty gold" in (check_gold(Problem("p", "?", gold)) or "")
    assert "doesn't grade itself" in (check_gold(Problem("p", "?", "many")) or "")
    assert check_gold(Problem("p", "?", "1,000")) is None


def test_an_unknown_spec_is_named_with_its_neighbour() -> None:
    with pytest.raises(GradingError, match="Did you mean 'gsm8k'"):
        grade(Problem("p", "?", "1"), "1", "gsm8")


def test_a_batch_keeps_its_order() -> None:
    items = [(Problem(str(i), "?", str(i)), f"#### {i % 3}", False) for i in range(9)]
    assert [v.correct for v in grade_many(items)] == [i == i % 3 for i in range(9)]


@pytest.mark.parametrize(
    "response",
    [
        "a" * 2_000_000,
        r"\boxed{" * 5000,
        "1," * 50_000,
        "111," * 50_000,
        "9" * 200_000,
        "\x00 1",
        "{" * 100_000,
        "<answer>" * 20_000,
    ],
    ids=["prose", "open boxes", "commas", "groups", "digits", "nul", "braces", "open tags"],
)
@pytest.mark.timeout(60)  # a cost that grows with the square of the length would take hours
def test_giant_and_broken_responses_cost_little(response: str) -> None:
    assert judged("7777", response)[0] is False
