"""The filter against benchmarks: tiers, pairs, embeddings, what is missing."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from perf.edits import LEAKED
from tests.unit.curate.make import Room

from posttrain.config import parse
from posttrain.curate.filters import FILTERS
from posttrain.data import synthetic
from posttrain.errors import DataError, RecipeError
from posttrain.records import Problem

ITEM = (
    "A baker bakes 12 loaves in the morning and sells 5 of them before noon. How many loaves are left for the evening?"
)
TWIN = ITEM.replace("12", "30").replace("5", "9")
PASSAGE = (
    "In June a shop gets new bread. " + " ".join(ITEM.split()[:14]) + ", which nobody had thought of in all the years."
)


def test_a_copy_and_a_twin_go_and_a_passage_is_shown(room: Room) -> None:
    room.refer("own", "What is the capital of France?", ITEM)
    rows = room.questions("Two and two?", ITEM.upper(), TWIN, PASSAGE)
    decision = room.filter("decontaminate", rows, against=["own"])
    assert decision.keep.tolist() == [True, False, False, True]
    assert decision.reason[1] == "drop: the same text as own:own/1"
    assert decision.reason[2] == "drop: holds 100% of the 8-grams of own:own/1, numbers masked"
    assert decision.columns["tier"] == [None, "drop", "drop", "review"]
    assert decision.notes["tiers"] == {"drop": 2, "review": 1, "note": 0}
    pair = decision.notes["pairs"][0]
    assert (pair["row"], pair["row_text"], pair["item_text"]) == (1, ITEM.upper(), ITEM)
    assert pair["shared"].startswith("a baker bakes # loaves")


def test_other_tiers_go_when_asked(room: Room) -> None:
    room.refer("own", ITEM)
    rows = room.questions(ITEM, PASSAGE, TWIN)
    assert room.kept("decontaminate", rows, against=["own"], drop=["drop", "review"]) == []
    assert room.kept("decontaminate", rows, against=["own"], masked=False, drop=["drop"]) == [1, 2]


def test_embeddings_bring_a_paraphrase_to_review(room: Room) -> None:
    items = [
        "A florist sells roses and tulips at a market stall on Sunday. How much money does she take?",
        "The train leaves the station early and arrives late at night. How long is the journey?",
        "A school buys pencils and notebooks for all pupils. What does it pay?",
    ]
    room.refer("own", ITEM, *items)
    rows = room.questions("Ships sail from harbours to islands far away.", " ".join(reversed(ITEM.split())))
    decision = room.filter("decontaminate", rows, against=["own"], embedding="tfidf")
    assert decision.columns["tier"] == [None, "review"]
    assert decision.notes["pairs"][0]["sign"] == "embedding"
    assert decision.notes["similarity"]["own"] >= 0.8
    assert decision.keep.all()


def test_a_missing_benchmark_is_told_before_any_work(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = FILTERS["decontaminate"]
    with pytest.raises(RecipeError, match=r"unknown benchmark 'gsm9k'. Did you mean 'gsm8k'"):
        entry.prepare(parse(entry.config, {"against": ["gsm9k"]}, "here"), room.tools)
    monkeypatch.setenv("POSTTRAIN_DATA", str(room.folder))
    with pytest.raises(DataError, match="does not exist"):
        entry.prepare(parse(entry.config, {"against": ["minerva"]}, "here"), room.tools)
    with pytest.raises(RecipeError, match="given no problems with such splits"):
        entry.prepare(parse(entry.config, {"against": ["held-out"]}, "here"), room.tools)
    with pytest.raises(RecipeError, match="'against' is missing"):
        parse(entry.config, {}, "here")


def planted(clean: list[str], items: list[str], seed: int) -> tuple[list[str], set[int]]:
    """`clean` with an edited copy of every item among them, and where those stand."""
    draw = random.Random(seed)
    marked = [(text, False) for text in clean] + [
        (LEAKED[i % len(LEAKED)](item, draw), True) for i, item in enumerate(items)
    ]
    draw.shuffle(marked)
    return [text for text, _ in marked], {i for i, (_, leaked) in enumerate(marked) if leaked}


def recall_and_precision(found: set[int], truth: set[int]) -> tuple[float, float]:
    return len(found & truth) / len(truth), len(found & truth) / max(1, len(found))


def test_planted_contamination_of_the_synthetic_task_is_found(room: Room) -> None:
    train = synthetic.problems(1, "train", 1500, (1, 2, 3), disjoint_templates=True)
    test = synthetic.problems(1, "test", 300, (1, 2, 3), disjoint_templates=True)
    rows, truth = planted([p.question for p in train], [p.question for p in test], 0)
    room.refer("held", *(p.question for p in test))
    decision = room.filter("decontaminate", room.questions(*rows), against=["held"])
    gone = {i for i, kept in enumerate(decision.keep) if not kept}
    recall, precision = recall_and_precision(gone, truth)
    assert recall >= 0.99
    assert precision >= 0.95


def test_gsm8k_planted_and_true_twins_are_found_and_not_seventy_others(room: Room, mirror: Path) -> None:
    train, test = (
        [json.loads(line)["problem"] for line in (mirror / f"gsm8k_{split}.jsonl").read_bytes().splitlines()]
        for split in ("train", "test")
    )
    natural = room.filter("decontaminate", room.questions(*train), against=["gsm8k"])
    assert natural.notes["tiers"]["drop"] == 4
    assert (~natural.keep).sum() == 4
    rows, truth = planted([t for t, kept in zip(train, natural.keep, strict=True) if kept], test, 1)
    decision = room.filter("decontaminate", room.questions(*rows), against=["gsm8k"])
    recall, precision = recall_and_precision({i for i, kept in enumerate(decision.keep) if not kept}, truth)
    assert recall >= 0.99
    assert precision >= 0.95


def test_held_out_problems_are_those_of_the_stage(room: Room) -> None:
    room.tools._held_out = [Problem("t", ITEM, "7", split="test")]
    assert room.kept("decontaminate", room.questions(ITEM, "1 + 1?"), against=["held-out"]) == [1]
