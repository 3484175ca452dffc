"""Traces as steps: what is cut together, what each is for, and that nothing is lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posttrain.curate.selectors.reasoning import LONGEST, classify, split_response, split_sentences, split_steps

TRACE = """We need the sum of 3.5 and 2.5. That gives 6. Then we add 4. The result is 10. So far so good. Nearly done.
Wait, let me check the first sum. 3.5 + 2.5 = 6, fine.
Alternatively, we could add 4 first: 3.5 + 6.5 = 10. Same. This is wrong? No.
The mistake was not there. Good."""


@given(st.text(alphabet="ab. ?!\n3Wait,", max_size=120))
def test_the_parts_of_a_response_are_the_response(text: str) -> None:
    assert "".join(split_sentences(text)) == text
    assert "".join(step.text for step in split_steps(text)) == text
    for response in (text, f"<think>{text}</think>\n\nThe answer is 3."):
        assert split_response(response).without(frozenset()) == response


@pytest.mark.parametrize(
    ("sentence", "kind"),
    [
        ("Wait, is that so?", "verification"),
        ("Hmm, wait. No.", "verification"),
        ("Let me check the sum.", "verification"),
        ("Let me double-check.", "verification"),
        ("Double-check: 4 + 5 = 9.", "verification"),
        ("Alternatively, use symmetry.", "multi_method"),
        ("Another way is to count.", "multi_method"),
        ("This is wrong.", "error_correction"),
        ("The mistake was in line 2.", "error_correction"),
        ("We wait for the bus for 5 minutes.", "progression"),
        ("We want to verify that f is continuous.", "progression"),
        ("So x = 3.5.", "progression"),
    ],
)
def test_a_step_is_classed_by_the_words_that_open_it(sentence: str, kind: str) -> None:
    """The rules of formulas as LIMOPro words them; what none knows is progression."""
    assert classify(sentence) == kind


def test_a_step_has_four_sentences_at_most_and_a_change_of_purpose_begins_a_new_one() -> None:
    steps = split_steps(TRACE)
    assert [s.kind for s in steps] == [
        "progression",
        "progression",
        "verification",
        "multi_method",
        "error_correction",
        "error_correction",
    ]
    assert all(len(split_sentences(s.text)) <= LONGEST for s in steps)
    assert "3.5 and 2.5" in steps[0].text, "a decimal point ends no sentence"
    assert steps[2].text.startswith("Wait")


def test_what_follows_a_long_check_goes_on_with_the_problem() -> None:
    steps = split_steps("Wait, is it? " + "We go on. " * 8)
    assert [s.kind for s in steps] == ["verification", "progression", "progression"]


def test_the_answer_is_behind_the_thought_or_the_last_paragraph_or_sentence() -> None:
    assert split_response("<think>\nA.\n</think>\n\nIt is 3.").answer == "\n\nIt is 3."
    assert split_response("A.\nB.\n\nThe answer is 3.").answer == "The answer is 3."
    assert split_response("A.\nThe answer is 3.\n").answer == "The answer is 3.\n"
    assert split_response("A. So it is 3.").answer == "So it is 3."
    assert split_response("7").answer == "7"
