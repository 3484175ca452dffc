"""The map: first solved, forgotten, flipping."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from posttrain.explorer.board import Tally, board_of, tally
from posttrain.explorer.library import Library
from posttrain.explorer.reading import rows


def _tally(**right: int | None) -> Tally:
    """One sample of each problem; None = not asked."""
    asked = {p: r for p, r in right.items() if r is not None}
    ones = np.ones(len(asked), np.int32)
    return Tally(tuple(asked), np.array(list(asked.values()), np.int32), ones, 0, 0, 0)


#                     learned  forgotten  flipping  always  never
COLUMNS = [
    _tally(a=0, b=1, c=1, d=1, e=0),
    _tally(a=0, b=1, c=0, d=1, e=0),
    _tally(a=1, b=0, c=1, d=None, e=0),
]


def test_every_course_has_its_name() -> None:
    board = board_of(COLUMNS)
    assert dict(zip(board.problems, map(set, board.tags), strict=True)) == {
        "a": {"learned"},
        "b": {"forgotten"},
        "c": {"flipping"},
        "d": {"always"},
        "e": {"never"},
    }
    assert board.first.tolist() == [2, 0, 0, 0, 3]
    assert board.flips.tolist() == [1, 1, 2, 0, 0]


def test_sorting_puts_what_is_asked_for_first_and_keeps_ties_in_order() -> None:
    board = board_of(COLUMNS)
    names = {
        sort: "".join(board.problems[i] for i in board.order(sort))
        for sort in ("asked", "first", "forgotten", "flips", "hardest", "easiest")
    }
    assert names["asked"] == "abcde"
    assert names["first"] == "bcdae"
    assert names["forgotten"][0] == "b"
    assert names["flips"] == "cabde"
    assert names["hardest"][0] == "e"
    assert names["easiest"][0] == "d"


def test_a_problem_that_was_not_asked_is_no_failure() -> None:
    board = board_of([_tally(a=1), _tally(a=None, b=0), _tally(a=1)])
    assert np.isnan(board.share[0, 1])
    assert board.flips.tolist() == [0, 0]
    assert "always" in board.tags[0]


def test_half_of_the_samples_right_is_solved() -> None:
    half = Tally(("a",), np.array([1], np.int32), np.array([2], np.int32), 0, 0, 0)
    assert board_of([half]).first.tolist() == [0]


def test_no_sets_make_an_empty_map() -> None:
    assert board_of([]).problems == ()


def test_counting_columns_and_counting_rows_agree(made: Path) -> None:
    found = Library(made).sets()["sweep/step-000150/made"]
    counted = tally(found)
    right: dict[str, int] = {}
    for row in rows(found):
        right[row.problem] = right.get(row.problem, 0) + (row.verdict is not None and row.verdict.correct is True)
    assert dict(zip(counted.problems, counted.right.tolist(), strict=True)) == right
    assert counted.graded == 24
    estimate = counted.estimate()
    assert estimate is not None
    assert estimate.value == sum(right.values()) / 24
