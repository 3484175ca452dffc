"""The synthetic task: what its problems, levels and texts are."""

from __future__ import annotations

import re
from collections import Counter
from fractions import Fraction

import pytest

from posttrain.data.synthetic import LEVELS, TEMPLATES, problems, texts
from posttrain.errors import DataError
from posttrain.records import Problem

EQUATION = re.compile(r"(\d+) ([+\-*/]) (\d+) = (\d+)\.")


@pytest.fixture(scope="module")
def many() -> list[Problem]:
    return problems(7, "train", 6000, tuple(LEVELS))


def test_there_are_at_least_40_templates_and_all_are_told_at_every_level(many: list[Problem]) -> None:
    assert len({t.name for t in TEMPLATES}) == len(TEMPLATES) >= 40
    told = {(p.subject, p.level) for p in many}
    assert told == {(t.name, level) for t in TEMPLATES for level in LEVELS}


def test_every_solution_computes_its_answer_one_exact_operation_a_step(many: list[Problem]) -> None:
    for problem in many:
        assert problem.solution is not None
        *steps, ending = problem.solution.split("\n")
        values = []
        for step in steps:
            match = EQUATION.fullmatch(step)
            assert match, step
            a, b = Fraction(match[1]), Fraction(match[3])
            assert {"+": a + b, "-": a - b, "*": a * b, "/": a / b}[match[2]] == int(match[4])
            values.append(match[4])
        assert ending == f"The answer is {problem.answer}."
        assert values[-1] == problem.answer
        assert len(steps) == problem.extra["steps"]


def test_levels_set_the_number_of_steps_and_the_size_of_numbers(many: list[Problem]) -> None:
    for problem in many:
        assert problem.level is not None
        level = LEVELS[problem.level]
        assert problem.extra["steps"] in level.steps
        numbers = [int(n) for n in re.findall(r"\d+", f"{problem.question} {problem.solution}".replace("percent", ""))]
        assert max(numbers) < level.below
        assert int(problem.answer or 0) >= 1
    steps = {level: Counter(p.extra["steps"] for p in many if p.level == level) for level in LEVELS}
    assert set(steps[1]) == {1}
    assert set(steps[5]) == {3, 4}
    assert {n for counts in steps.values() for n in counts} == {1, 2, 3, 4}


def test_the_hardest_level_needs_division_fractions_and_percent(many: list[Problem]) -> None:
    hardest = " ".join(f"{p.question} {p.solution}" for p in many if p.level == 5)
    for word in ("percent", "half", "a quarter", "times as many", "equal", " * ", " / "):
        assert word in hardest


def test_questions_are_short_and_the_vocabulary_is_small(many: list[Problem]) -> None:
    easy = [p.question for p in many if (p.level or 0) <= 3]
    assert max(len(q.split()) for q in easy) <= 45
    words = {w for p in many for w in re.findall(r"[a-z]+", p.question.lower())}
    assert len(words) < 700


def test_every_number_of_a_question_is_used_or_stands_for_a_share(many: list[Problem]) -> None:
    for problem in many:
        question = Counter(re.findall(r"\d+", re.sub(r"\d+ percent", "", problem.question)))
        assert not question - Counter(re.findall(r"\d+", problem.solution or ""))


def test_the_same_seed_gives_the_same_problems_another_seed_others() -> None:
    assert problems(1, "test", 50, (1, 2)) == problems(1, "test", 50, (1, 2))
    first = {p.question for p in problems(1, "test", 200, (3, 4))}
    other = {p.question for p in problems(2, "test", 200, (3, 4))}
    assert len(first & other) < 10


def test_more_problems_begin_with_the_same_ones() -> None:
    assert problems(5, "train", 300, (1, 4))[:100] == problems(5, "train", 100, (1, 4))


def test_ids_name_the_text_so_that_two_corpora_agree() -> None:
    ids = {p.question: p.id for p in problems(1, "train", 3000, (1,))}
    again = {p.question: p.id for p in problems(2, "train", 3000, (1,))}
    both = ids.keys() & again.keys()
    assert both
    assert all(ids[q] == again[q] for q in both)


def test_plain_text_states_true_facts_and_never_asks_a_question_or_answers_one() -> None:
    documents = texts(3, "train", 2000, tuple(LEVELS))
    assert all(d.answer is None and d.solution is None for d in documents)
    for document in documents:
        assert "?" not in document.question
        assert "answer" not in document.question
        if document.subject == "story":
            assert "=" not in document.question
            continue
        for a, operator, b, c in EQUATION.findall(document.question):
            x, y = Fraction(a), Fraction(b)
            assert {"+": x + y, "-": x - y, "*": x * y, "/": x / y}[operator] == int(c)
        assert EQUATION.sub("", document.question).strip() == ""


def test_asking_for_more_than_a_level_holds_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("posttrain.data.synthetic.generate._PATIENCE", 3)
    with pytest.raises(DataError, match=r"level 1 .* holds no more different train problems after .* add levels"):
        problems(1, "train", 400_000, (1,))
