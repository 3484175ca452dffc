"""Verifiable instructions: each checker against what it asks for, strictly and loosely."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from posttrain.grading import check_gold, grade
from posttrain.grading.instructions import CHECKS, follow
from posttrain.grading.language import speaks
from posttrain.records import Problem

_BESIDE = Path(__file__).resolve().parents[4] / "shared" / "data"


def problem(*instructions: tuple[str, dict[str, Any]]) -> Problem:
    names, arguments = [name for name, _ in instructions], [given for _, given in instructions]
    return Problem("p", "?", None, extra={"instruction_id_list": names, "kwargs": arguments})


# instruction, its arguments, a text that keeps it, one that doesn't
CASES: list[tuple[str, dict[str, Any], str, str]] = [
    ("keywords:existence", {"keywords": ["tide", "moon"]}, "The Moon makes the tides.", "The moon."),
    ("keywords:forbidden_words", {"forbidden_words": ["cat"]}, "Concatenate.", "A cat."),
    ("keywords:frequency", {"keyword": "so", "frequency": 2, "relation": "at least"}, "So so.", "So."),
    ("keywords:frequency", {"keyword": "so", "frequency": 2, "relation": "less than"}, "So.", "So so."),
    ("keywords:letter_frequency", {"letter": "e", "let_frequency": 2, "let_relation": "at least"}, "Eel", "Elm"),
    ("language:response_language", {"language": "de"}, "Das ist nicht der Weg.", "That is not the way, is it."),
    ("language:response_language", {"language": "ko"}, "안녕하세요 여러분", "Hello there"),
    ("length_constraints:number_words", {"num_words": 3, "relation": "at least"}, "one two three", "one two"),
    ("length_constraints:number_words", {"num_words": 3, "relation": "less than"}, "one two", "one two three"),
    ("length_constraints:number_sentences", {"num_sentences": 2, "relation": "at least"}, "One. Two!", "Mr. Fox ran."),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "one\n***\ntwo", "one\n***\n***\ntwo"),
    (
        "length_constraints:nth_paragraph_first_word",
        {"nth_paragraph": 2, "num_paragraphs": 2, "first_word": "then"},
        'First.\n\n"Then, we go."',
        "Then.\n\nFirst.",
    ),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[name] of [place]", "[name] of [place"),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "Yours.\np. s. write", "Yours."),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "* a\n - b\n** c", "* a\n** c"),
    ("detectable_format:constrained_response", {}, "Well. My answer is no.", "No."),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 2}, "*one* and **two**", "*one* and ** **"),
    (
        "detectable_format:multiple_sections",
        {"section_spliter": "PART", "num_sections": 2},
        "PART 1\na\nPART 2\nb",
        "PART 1\na",
    ),
    ("detectable_format:json_format", {}, '```json\n{"a": 1}\n```', "{a: 1}"),
    ("detectable_format:title", {}, "<<On tides>>\nThey come.", "<<>>\nThey come."),
    ("combination:two_responses", {}, "one\n******\ntwo", "one\n******\none"),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Say it."}, "say it. I do.", "I do. Say it."),
    ("startend:end_checker", {"end_phrase": "That is all."}, 'Well. "That is all."', "That is all. Or not"),
    ("startend:quotation", {}, '"quoted"', '"half'),
    ("change_case:english_capital", {}, "THIS IS THE WAY IT IS.", "This is the way it is."),
    ("change_case:english_lowercase", {}, "this is the way it is.", "This is the way it is."),
    (
        "change_case:capital_word_frequency",
        {"capital_frequency": 2, "capital_relation": "at least"},
        "STOP there NOW",
        "STOP there now",
    ),
    ("punctuation:no_comma", {}, "Short and plain.", "Short, and plain."),
]


def test_every_checker_has_a_case() -> None:
    assert {name for name, *_ in CASES} == set(CHECKS)


@pytest.mark.parametrize(("name", "arguments", "kept", "broken"), CASES)
def test_an_instruction_is_kept_or_broken(name: str, arguments: dict[str, Any], kept: str, broken: str) -> None:
    task = problem((name, arguments))
    assert check_gold(task, "ifeval") is None
    assert grade(task, kept, "ifeval").correct is True
    assert grade(task, broken, "ifeval").correct is False


def test_each_instruction_has_its_verdict_and_all_of_them_one() -> None:
    task = problem(("punctuation:no_comma", {}), ("startend:quotation", {}))
    each = follow(task, "plain")
    assert [(v.correct, v.reason, v.extracted) for v in each] == [
        (True, "correct", "punctuation:no_comma"),
        (False, "wrong", "startend:quotation"),
    ]
    whole = grade(task, "plain", "ifeval")
    assert (whole.correct, whole.format_ok, whole.extracted) == (False, False, "startend:quotation")


def test_the_loose_reading_forgives_an_opening_line_and_emphasis() -> None:
    task = problem(("startend:quotation", {}))
    response = 'Sure, here it is:\n"**quoted**"'
    assert (grade(task, response, "ifeval").correct, grade(task, response, "ifeval_loose").correct) == (False, True)


def test_an_empty_response_keeps_nothing() -> None:
    assert grade(problem(("punctuation:no_comma", {})), " \n", "ifeval").reason == "no_answer"


def test_a_language_that_cannot_be_told_is_undecided() -> None:
    assert speaks("Xyzzy plugh", "de") is None
    verdict = grade(problem(("language:response_language", {"language": "de"})), "Xyzzy plugh", "ifeval")
    assert (verdict.correct, verdict.reason) == (None, "undecided")


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({}, "has no instruction_id_list"),
        ({"instruction_id_list": ["poetry:rhyme"], "kwargs": [{}]}, "without a checker: poetry:rhyme"),
        ({"instruction_id_list": ["punctuation:no_comma"], "kwargs": []}, "not as many kwargs"),
        ({"instruction_id_list": ["keywords:existence"], "kwargs": [{}]}, "lacks an argument"),
    ],
)
def test_a_problem_that_cannot_be_checked_says_why_and_makes_nothing_correct(
    extra: dict[str, Any], message: str
) -> None:
    task = Problem("p7", "?", None, extra=extra)
    why = check_gold(task, "ifeval") or ""
    assert message in why
    assert "'p7'" in why
    assert grade(task, "Anything.", "ifeval").reason == "no_gold"


@pytest.mark.parametrize("text", ["[" * 10**6, "." * 10**6, "<<" * 10**5, "*" * 10**6, "\n" * 10**6, '"' * 10**6])
@pytest.mark.timeout(60)  # a cost that grows with the square of the length would take hours
def test_giant_responses_cost_little(text: str) -> None:
    every = problem(*((name, arguments) for name, arguments, *_ in CASES))
    grade(every, text, "ifeval_loose")


def test_every_instruction_of_the_ifeval_data_can_be_checked() -> None:
    file = Path(os.environ.get("POSTTRAIN_DATA", _BESIDE)) / "ifeval.jsonl"
    if not file.is_file():
        pytest.skip(f"no mirror of the real data: there is no {file}")
    rows = [json.loads(line) for line in file.read_bytes().splitlines()]
    problems = [Problem(row["id"], row["problem"], None, extra=row) for row in rows]
    assert len(problems) == 541
    assert [why for p in problems if (why := check_gold(p, "ifeval"))] == []
