"""From rows of the mirror's files to problems as they are asked: letters before choices, tests below a task."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace

from posttrain.benchmarks.declaration import Reader
from posttrain.data.columns import Columns, to_problems
from posttrain.data.rows import Row
from posttrain.errors import DataError
from posttrain.grading.choice import LETTERS
from posttrain.records import Problem

# The prompt of openai/simple-evals for multiple choice.
ASK_CHOICE = (
    "Answer the following multiple choice question. The last line of your response should be of the following format: "
    "'Answer: $LETTER' (without quotes) where LETTER is one of {letters}. Think step by step before answering."
)
# MBPP's own prompt (Austin et al., arXiv:2108.07732, section 3.1), without its first sentence.
ASK_TESTS = "Your code should pass these tests:"


def plain(rows: Sequence[Row], name: str) -> list[Problem]:
    """Rows with id, problem and answer."""
    return to_problems(rows, Columns(), prefix=name, split="test")


def only(keep: Callable[[Row], bool], then: Reader = plain) -> Reader:
    """A reader of the rows that `keep` is true of."""
    return lambda rows, name: then([row for row in rows if keep(row)], name)


def minerva(rows: Sequence[Row], name: str) -> list[Problem]:
    """A formula that the source broke in two (``…+$ $…``) is one again."""
    return [replace(p, answer=p.answer.replace("$ $", " ") if p.answer else p.answer) for p in plain(rows, name)]


def choices(rows: Sequence[Row], name: str) -> list[Problem]:
    """Rows with choices, in the order of the file; the answer is a letter."""
    return [lettered(p) for p in plain(rows, name)]


def lettered(problem: Problem) -> Problem:
    """The problem with its choices below the question. DataError where there are none, or where the answer is no
    letter of theirs."""
    options = problem.choices or ()
    letters = LETTERS[: len(options)]
    if not 2 <= len(options) <= len(LETTERS):
        raise DataError(
            f"{problem.id}: {len(options)} choices. Multiple choice needs 2 to {len(LETTERS)}: add them, or choose "
            "another grading."
        )
    if problem.answer is None or len(problem.answer) != 1 or problem.answer not in letters:
        raise DataError(f"{problem.id}: the answer is {problem.answer!r}. Write one of {', '.join(letters)}.")
    listed = "\n".join(f"{letter}) {option}" for letter, option in zip(letters, options, strict=True))
    return replace(problem, question=f"{ASK_CHOICE.format(letters=letters)}\n\n{problem.question}\n\n{listed}")


def scored_choices(rows: Sequence[Row], name: str) -> list[Problem]:
    """`choices`, with the question as it stands: for scoring by log-likelihood."""
    return [checked_choices(p) for p in plain(rows, name)]


def checked_choices(problem: Problem) -> Problem:
    """The problem as it is. DataError as `lettered`."""
    lettered(problem)
    return problem


def redux_correct(row: Row) -> bool:
    """MMLU-Redux found nothing wrong with the question."""
    return row.values.get("error_type") == "ok"


def redux_corrected(rows: Sequence[Row], name: str) -> list[Problem]:
    """The sound questions of MMLU-Redux, and those whose key was wrong with the key that its annotators give.

    They wrote an index or a letter; a correction that is neither, or several, is left out.
    """
    kept = []
    for row in rows:
        if row.values.get("error_type") == "wrong_groundtruth":
            given = str(row.values.get("correct_answer") or "").strip()
            letter = LETTERS[int(given)] if given in ("0", "1", "2", "3") else given
            if letter in ("A", "B", "C", "D"):
                kept.append(Row({**row.values, "answer": letter}, row.where))
        elif redux_correct(row):
            kept.append(row)
    return choices(kept, name)


def mbpp(rows: Sequence[Row], name: str) -> list[Problem]:
    """The test split; the tests stand below the task, which alone doesn't name the function."""
    tasks = plain([row for row in rows if row.values.get("split") == "test"], name)
    return [
        replace(p, question="\n".join([f"{p.question} {ASK_TESTS}\n", *p.extra.get("test_list", ())])) for p in tasks
    ]


def ifeval(rows: Sequence[Row], name: str) -> list[Problem]:
    """The gold is what the answer must keep to, as JSON: instruction_id_list and kwargs, one set for each."""
    problems = []
    for row, problem in zip(rows, plain(rows, name), strict=True):
        ids, kwargs = row.values.get("instruction_id_list"), row.values.get("kwargs")
        if not isinstance(ids, list) or not isinstance(kwargs, list) or len(ids) != len(kwargs) or not ids:
            raise DataError(f"{row.where}: instruction_id_list and kwargs must be lists of one length, at least 1.")
        gold = json.dumps({"instruction_id_list": ids, "kwargs": kwargs}, ensure_ascii=False)
        problems.append(replace(problem, answer=gold))
    return problems


def cruxeval(rows: Sequence[Row], name: str) -> list[Problem]:
    """What does the program return for this input? The gold is the value as Python prints it."""
    problems = []
    for row, problem in zip(rows, plain(rows, name), strict=True):
        given = row.values.get("input")
        if not isinstance(given, str):
            raise DataError(f"{row.where}: has no 'input'. Give the rows as CRUXEval publishes them.")
        asked = f"{problem.question}\n\nWhat does f({given}) return?"
        problems.append(replace(problem, question=asked))
    return problems


def gpqa(rows: Sequence[Row], name: str) -> list[Problem]:
    """The official CSV. The order of an item's choices is pinned by a hash of its record id: the same for everyone,
    whatever the order of the file, and the right one stands anywhere."""
    return [lettered(_gpqa_item(row, name)) for row in rows]


def _gpqa_item(row: Row, name: str) -> Problem:
    columns = ("Record ID", "Question", "Correct Answer", "Incorrect Answer 1", "Incorrect Answer 2")
    values = {c: str(row.values.get(c) or "").strip() for c in (*columns, "Incorrect Answer 3")}
    missing = [c for c, value in values.items() if not value]
    if missing:
        raise DataError(f"{row.where}: no {missing[0]!r}. Give the official gpqa_diamond.csv as it was published.")
    record, question, correct, *wrong = values.values()

    def rank(option: str) -> bytes:
        return hashlib.sha256(f"{record}\x1f{option}".encode()).digest()

    order = sorted((correct, *wrong), key=rank)
    subject = str(row.values.get("Subdomain") or "") or None
    return Problem(
        id=f"{name}/{record}",
        question=question,
        answer=LETTERS[order.index(correct)],
        choices=tuple(order),
        subject=subject,
        split="test",
    )


def livecodebench(rows: Sequence[Row], name: str) -> list[Problem]:
    """Standard-input problems with decoded tests. DataError for tests that are still pickled: they are not opened."""
    columns = Columns(id="question_id", question="question_content", answer=None)
    problems = to_problems(rows, columns, prefix=name, split="test")
    for row, problem in zip(rows, problems, strict=True):
        if not isinstance(problem.extra.get("tests"), list):
            raise DataError(
                f"{row.where}: no 'tests'. The published private tests are pickles, which are not opened here: decode "
                "them where you trust them, and write tests: [{input, output}, …]."
            )
    return problems
