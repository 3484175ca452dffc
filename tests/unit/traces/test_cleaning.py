"""What is cut out of a teacher's answer, and what never is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posttrain.traces.answers import normal
from posttrain.traces.cleaning import Cut, clean, marked, restore

META = (
    "I will output ANSWER: <number>.",
    "The user wants me to show my reasoning step by step.",
    "Now, let me write the final answer in the required format.",
    "Okay, so I need to provide the answer in the requested format.",
    "The instructions say to end with ANSWER:.",
    "Make sure to put the result in the correct format.",
    "Please show your reasoning.",
    "Remember to end with the final line.",
    "The final line should be the answer alone.",
    "No additional text.",
)
WORK = (
    "She has 16 - 3 - 4 = 9 eggs left.",
    "So 9 * 2 = 18 dollars.",
    "Half of the eggs are sold.",
    "That is 1/2 of the total.",
    "The question asks for the slope of the line.",
    "I will give each child three apples.",
    "Let me write the equation in standard form.",
    "Let x be the number of eggs.",
    "ANSWER: 18",
    "The answer is 18.",
    "\\boxed{18}",
    "First, we find the area of the box.",
)


@pytest.mark.parametrize("sentence", META)
def test_a_sentence_about_the_form_of_the_answer_is_cut(sentence: str) -> None:
    assert clean(sentence).text == ""
    cleaned = clean(f"She has 9 eggs. {sentence} They cost 18 dollars.")
    assert cleaned.text == "She has 9 eggs. They cost 18 dollars."
    assert [cut.removed.strip() for cut in cleaned.cuts] == [sentence]


@pytest.mark.parametrize("sentence", WORK)
def test_a_sentence_of_the_solution_stays(sentence: str) -> None:
    assert clean(sentence).text == sentence
    assert clean(f"She buys eggs. {sentence} Done.").cuts == ()


def test_a_paragraph_that_ends_in_the_answer_keeps_its_arithmetic() -> None:
    """A cleaner that takes paragraphs, as the one that these traces were made popular by, deletes the work."""
    text = "Janet sells 16 - 3 - 4 = 9 eggs. At 2 dollars each she makes 9 * 2 = 18. I will output ANSWER: 18."
    cleaned = clean(text)
    assert cleaned.text == "Janet sells 16 - 3 - 4 = 9 eggs. At 2 dollars each she makes 9 * 2 = 18. ANSWER: 18."
    assert cleaned.cuts == (Cut(text.index("I will"), "I will output ", "announcement"),)


def test_an_announcement_that_computes_stays() -> None:
    for text in (
        "Since 9 * 2 = 18, I will output ANSWER: 18.",
        "I will output twice the eggs as the final answer.",
        "I will output ANSWER: 3*6.",
        "The final line should be 9 plus 9.",
    ):
        assert clean(text).text == text


def test_a_line_that_is_left_empty_goes_as_a_whole() -> None:
    text = "I need to show the result in the required format.\n16 - 7 = 9.\n  Please show your work. No extra text.\n"
    assert clean(text).text == "16 - 7 = 9.\n"


def test_what_repeats_the_instructions_is_cut_and_what_repeats_the_question_stays() -> None:
    told = ["You are a patient teacher. Give each step with its reason."]
    text = "Give each step with its reason. Tom has 3 dogs. Give each dog a bone."
    assert clean(text, told).text == "Tom has 3 dogs. Give each dog a bone."
    assert clean(text).text == text


@given(
    st.lists(st.sampled_from([*META, *WORK, "", "\n", "\n\n", "  "]), max_size=12), st.sampled_from([" ", "\n", "  "])
)
def test_nothing_is_lost_and_no_computation_is_cut(parts: list[str], between: str) -> None:
    raw = between.join(parts)
    cleaned = clean(raw)
    assert restore(cleaned.text, cleaned.cuts) == raw
    for cut in cleaned.cuts:
        assert not any(c.isdigit() or c == "=" for c in cut.removed)
    for sentence in WORK:
        assert cleaned.text.count(sentence) == raw.count(sentence)
    assert clean(cleaned.text).text == cleaned.text, "cleaning twice cuts nothing more"


@given(st.text(max_size=200))
def test_any_text_can_be_made_again(raw: str) -> None:
    cleaned = clean(raw, ["Show the steps of your work. Any other words."])
    assert restore(cleaned.text, cleaned.cuts) == raw
    assert marked(cleaned.text, cleaned.cuts, before="", after="") == raw


@pytest.mark.parametrize("piece", ["*", "1", "okay ", "\\boxed{1", "I will ", "ANSWER: ", "\n", "ANSWER:1"])
@pytest.mark.timeout(60)  # a cost that grows with the square of the length would take hours
def test_a_reply_that_never_ends_is_cleaned_at_once(piece: str) -> None:
    clean(piece * (200_000 // len(piece)), [piece * 2_000])


def test_a_diff_shows_what_was_cut_in_its_place() -> None:
    cleaned = clean("One. No additional text. Two.")
    assert marked(cleaned.text, cleaned.cuts) == "One. [-No additional text. -]Two."


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("1/2", "1/2"),
        ("2/4", "1/2"),
        ("6/3", "2"),
        ("1,234.50", "1234.5"),
        ("$18.00", "18"),
        ("18", "18"),
        ("-0.125", "-0.125"),
        ("0.1", "0.1"),
        (".5", "0.5"),
        ("50%", "50%"),
        ("\\frac{3}{4}", "3/4"),
        ("x = 7", "7"),
        ("9 apples", "9"),
        ("3.10 dollars", "3.1"),
        ("1e3", "1000"),
        ("3 or 4", None),
        ("3 1/2", None),
        ("none", None),
        ("", None),
    ],
)
def test_a_number_is_written_in_one_way_and_exactly(written: str, expected: str | None) -> None:
    assert normal(written) == expected


@given(st.integers(-(10**12), 10**12), st.integers(0, 9))
def test_no_digit_of_a_decimal_is_lost(digits: int, places: int) -> None:
    from fractions import Fraction

    value = Fraction(digits, 10**places)
    text = f"{'-' if digits < 0 else ''}{str(abs(digits)).rjust(places + 1, '0')}"
    text = f"{text[:-places]}.{text[-places:]}" if places else text
    written = normal(text)
    assert written is not None
    assert Fraction(written) == value
    assert normal(written) == written
