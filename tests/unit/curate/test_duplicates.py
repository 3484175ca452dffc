"""Filters that drop a row for another one."""

from __future__ import annotations

import numpy as np
import pytest
from tests.unit.curate.make import Room, trace

from posttrain.curate import lsa, neighbours

BAKER = (
    "A baker bakes 12 loaves in the morning and sells 5 of them before noon. How many loaves are left for the evening?"
)


def test_equal_but_for_case_and_spacing_is_exactly_the_same(room: Room) -> None:
    rows = room.questions(BAKER, "1 + 1?", BAKER.upper().replace(" ", "  "), "1 - 1?")
    decision = room.filter("exact_duplicates", rows)
    assert decision.keep.tolist() == [True, True, False, True]
    assert decision.reason[2] == "the same as row 0"
    assert decision.columns["twin"] == [None, None, 0, None]
    assert decision.notes["pairs"][0]["twin_text"] == BAKER


def test_several_traces_of_a_question_are_no_duplicates_unless_questions_are_asked_for(room: Room) -> None:
    rows = room.rows([trace(0, f"Way {i}", index=i) for i in range(3)])
    assert room.kept("exact_duplicates", rows) == [0, 1, 2]
    assert room.kept("exact_duplicates", rows, of="question") == [0]
    assert room.kept("semantic_duplicates", rows, embedding="tfidf") == [0, 1, 2]


def test_a_word_exchanged_is_nearly_the_same_and_a_number_is_not(room: Room) -> None:
    rows = room.questions(BAKER, BAKER.replace("evening", "night"), BAKER.replace("12", "15"))
    decision = room.filter("near_duplicates", rows)
    assert decision.keep.tolist() == [True, False, True]
    assert decision.reason[1] == "nearly the same as row 0"
    assert decision.score[1] > 0.8
    assert room.kept("near_duplicates", rows, same_figures=False) == [0]


def test_an_operator_makes_another_problem(room: Room) -> None:
    long = "Let $f(x) = x^2 + 3x + 2$ be a function of the real numbers. Find the sum of all its roots, please."
    rows = room.questions(long, long.replace("+ 2", "* 2"))
    assert room.kept("near_duplicates", rows) == [0, 1]


def test_reasons_name_rows_of_the_input(room: Room) -> None:
    rows = room.questions("something else", BAKER, BAKER).take(np.array([1, 2]))
    assert room.filter("exact_duplicates", rows).reason[1] == "the same as row 1"


def test_questions_that_say_the_same_go_with_all_their_traces(room: Room) -> None:
    other = BAKER.replace("How many loaves are left for the evening?", "How many loaves for the evening are left?")
    rows = room.rows(
        [trace(0, "a", question=BAKER), trace(1, "b", question=other), trace(1, "c", index=1, question=other)]
        + [trace(i + 2, question=f"Something about {word} {word}") for i, word in enumerate(["cats", "ships", "rain"])]
    )
    decision = room.filter("semantic_duplicates", rows, embedding="tfidf", threshold=0.9)
    assert decision.keep.tolist() == [True, False, False, True, True, True]
    assert decision.reason[2] == "nearly the same as row 0"


def brute(vectors: np.ndarray, threshold: float) -> list[int]:
    """The definition: a vector goes if one before it, that stays, is alike."""
    kept: list[int] = []
    for i, vector in enumerate(vectors):
        if not any(float(vectors[k] @ vector) >= threshold for k in kept):
            kept.append(i)
    return kept


@pytest.mark.parametrize("block", [7, 2048])
def test_alike_vectors_are_those_of_the_definition(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "BLOCK", block)
    draw = np.random.default_rng(0)
    vectors = lsa.unit(draw.standard_normal((60, 3)).astype(np.float32))
    twin, similarity = neighbours.first_alike(vectors, 0.9, np.zeros(60, np.uint64), seed=0)
    assert np.flatnonzero(twin < 0).tolist() == brute(vectors, 0.9)
    gone = np.flatnonzero(twin >= 0)
    assert (similarity[gone] >= 0.9).all()
    assert (twin[twin[gone]] == -1).all()


def test_clusters_lose_hardly_a_twin(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(1)
    first = lsa.unit(draw.standard_normal((600, 16)).astype(np.float32))
    twins = lsa.unit(first + 0.02 * draw.standard_normal((600, 16)).astype(np.float32))
    vectors = np.concatenate([first, twins])
    monkeypatch.setattr(neighbours, "EXACT", 100)
    monkeypatch.setattr(neighbours, "CLUSTER", 120)
    twin, _ = neighbours.first_alike(vectors, 0.97, np.zeros(1200, np.uint64), seed=0)
    assert (twin[600:] == np.arange(600)).mean() > 0.98


def test_nearest_is_the_greatest_product() -> None:
    draw = np.random.default_rng(2)
    mine, theirs = (lsa.unit(draw.standard_normal((n, 4)).astype(np.float32)) for n in (30, 50))
    index, similarity = neighbours.nearest(mine, theirs)
    assert np.array_equal(index, (mine @ theirs.T).argmax(axis=1))
    assert similarity == pytest.approx((mine @ theirs.T).max(axis=1))
    others = mine @ mine.T - 3 * np.eye(30)
    assert neighbours.to_nearest_other(mine) == pytest.approx(others.max(axis=1), abs=1e-6)
    assert neighbours.to_nearest_other(mine[:1]).tolist() == [-1]
