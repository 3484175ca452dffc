"""Overlap of a training set with a benchmark, in tiers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from posttrain.data.contamination import containment, grams, longest_shared, masked, scan, tokens

ITEM = (
    "A train travels 270 miles in 3 hours. At the same rate, how many additional hours would it take to go 180 miles?"
)


def tiers(row: str, items: list[str] | None = None) -> list[str]:
    return [finding.tier for finding in scan([row], items or [ITEM])]


def test_the_same_text_in_other_spelling_is_dropped() -> None:
    assert tiers(ITEM.upper().replace(",", " ;").replace(".", " - ")) == ["drop"]


def test_the_same_story_with_other_figures_is_for_review() -> None:
    assert tiers(ITEM.replace("270", "1,200").replace("180", "2000").replace("train", "plane")) == ["review"]


def test_a_phrase_in_common_is_noted() -> None:
    phrase = "at the same rate how many additional hours would it take to go 180 miles"
    items = [f"{'One two three four five six seven eight nine ten eleven twelve words before it. ' * 3}{phrase}?"]
    assert tiers(f"Something else entirely, and then {phrase} by foot?", items) == ["note"]


def test_unrelated_texts_have_no_finding() -> None:
    assert tiers("Natalia sold clips to 48 of her friends in April, and then she sold half as many in May.") == []


def test_containment_is_the_share_of_the_items_grams() -> None:
    item, row = list("abcdefghij"), list("xxabcdefghyy")
    assert containment(item, row, 8) == pytest.approx(1 / 3)  # of abcdefgh, bcdefghi, cdefghij the first
    assert containment(item, item, 8) == 1
    assert containment([], item) == 0


def test_short_texts_count_as_one_gram() -> None:
    assert grams(["how", "many"], 8) == {("how", "many")}
    assert tiers("How many?", ["how many"]) == ["drop"]


def test_numbers_are_masked_and_evidence_is_the_longest_common_run() -> None:
    assert masked(tokens("Pay $1,200.50 for 3 cats")) == ["pay", "#", "for", "#", "cats"]
    assert longest_shared("a b c d e".split(), "x b c d y b".split()) == ["b", "c", "d"]


def test_the_four_template_twins_of_gsm8k_are_found(mirror: Path) -> None:
    train, test = (
        [json.loads(line)["problem"] for line in (mirror / f"gsm8k_{split}.jsonl").read_bytes().splitlines()]
        for split in ("train", "test")
    )
    found = list(scan(train, test))
    assert [f.tier for f in found].count("review") == 4
    assert [f.tier for f in found].count("drop") == 0
    assert all(0.5 <= f.containment <= 1 for f in found if f.tier == "review")
