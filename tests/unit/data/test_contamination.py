"""Overlap of a training set with a benchmark, in tiers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posttrain.data import contamination
from posttrain.data.contamination import Index, containment, evidence, grams, longest_shared, masked, scan, tokens

ITEM = (
    "A train travels 270 miles in 3 hours. At the same rate, how many additional hours would it take to go 180 miles?"
)


def tiers(row: str, items: list[str] | None = None) -> list[str]:
    return [finding.tier for finding in scan([row], items or [ITEM])]


def test_the_same_text_in_other_spelling_is_dropped() -> None:
    assert tiers(ITEM.upper().replace(",", " ;").replace(".", " - ")) == ["drop"]


def test_the_same_story_with_other_figures_is_dropped() -> None:
    twin = ITEM.replace("270", "1,200").replace("3 h", "4 h").replace("180", "2000").replace("train", "plane")
    assert [(f.tier, f.sign) for f in scan([twin], [ITEM])] == [("drop", "masked 8-grams")]
    assert [f.tier for f in scan([twin], [ITEM], mask=False)] == ["review"]


def test_a_question_within_a_longer_text_is_dropped() -> None:
    row = f"Here are some problems. First: {ITEM} Second: what is 7 times 8?"
    assert [(f.tier, f.sign, f.containment) for f in scan([row], [ITEM])] == [("drop", "8-grams", 1.0)]


PHRASE = "at the same rate how many additional hours would it take to go 180 miles"
LONG = [f"{'One two three four five six seven eight nine ten eleven twelve words before it. ' * 3}{PHRASE}?"]


def test_a_passage_in_common_is_for_review_and_a_phrase_is_noted() -> None:
    assert tiers(f"Something else entirely, and then {PHRASE} by foot?", LONG) == ["review"]
    shorter = " ".join(PHRASE.split()[:9])
    assert tiers(f"Something else entirely, and then {shorter} by foot?", LONG) == ["note"]


def test_an_operator_makes_another_exercise() -> None:
    assert tiers("Compute $2 + 3$.", ["compute 2 - 3"]) == []
    assert tiers("Compute $2 + 3$.", ["COMPUTE  2+3!"]) == ["drop"]


def test_everybodys_exercise_is_no_twin() -> None:
    item = "What is the greatest common factor of 84, 112 and 210?"
    assert [f.sign for f in scan(["What is the greatest common factor of 32 and 48?"], [item])] in ([], ["8-gram"])


@given(st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=24), min_size=1, max_size=5), st.data())
def test_hashes_count_what_words_count(texts: list[list[str]], data: st.DataObject) -> None:
    row = data.draw(st.lists(st.sampled_from("abc"), min_size=1, max_size=40))
    long = [t for t in texts if len(t) >= 8]
    best = max((containment(t, row) for t in long), default=0.0)
    hits = list(Index([" ".join(t) for t in texts]).hits([" ".join(row)], threshold=0.25))
    if hits and hits[0].sign not in ("equal", "4-grams"):
        assert hits[0].containment == pytest.approx(best)
        assert (hits[0].tier == "drop") == (best >= 0.25)
    elif not hits:
        assert best == 0


def test_many_rows_are_found_as_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    items = [ITEM, LONG[0], "A farmer has twelve cows and sells four of them to his neighbour in the spring, how many?"]
    rows = [ITEM.upper(), "nothing", ITEM.replace("270", "9"), f"and then {PHRASE} by foot", items[2] + " cows"]
    alone = [[(f.tier, f.item) for f in scan([row], items)] for row in rows]
    monkeypatch.setattr(contamination, "CHUNK", 2)
    monkeypatch.setattr(contamination, "EXPANDED", 3)
    together = {f.row: (f.tier, f.item) for f in scan(rows, items)}
    assert [[together[i]] if i in together else [] for i in range(len(rows))] == alone


def test_nothing_is_found_in_nothing() -> None:
    assert list(scan([], [ITEM])) == list(scan(["", "words"], [])) == list(scan(["", " "], [ITEM, ""])) == []


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
    assert tiers("How many are there of them in all the world?", ["how many"]) == []


def test_numbers_are_masked_and_evidence_is_the_longest_common_run() -> None:
    assert masked(tokens("Pay $1,200.50 for 3 cats")) == ["pay", "#", "for", "#", "cats"]
    assert evidence("Tom pays 3 dollars", "she pays 40 dollars now") == "pays # dollars"
    assert longest_shared("a b c d e".split(), "x b c d y b".split()) == ["b", "c", "d"]


def test_the_four_template_twins_of_gsm8k_are_found(mirror: Path) -> None:
    train, test = (
        [json.loads(line)["problem"] for line in (mirror / f"gsm8k_{split}.jsonl").read_bytes().splitlines()]
        for split in ("train", "test")
    )
    found = list(scan(train, test))
    dropped = [f for f in found if f.tier == "drop"]
    # Stamps at the post office, miles in three hours twice, and three books: the same stories with other figures.
    assert [(f.row, f.item) for f in dropped] == [(20, 632), (1314, 602), (2600, 974), (5162, 602)]
    assert sorted(f.sign for f in dropped) == ["8-grams", "8-grams", "masked 8-grams", "masked 8-grams"]
    assert all(0.5 <= f.containment <= 1 for f in dropped)
    # A hit of any 8-gram is no sign: nearly all of them are phrases of the genre, which are noted and stay.
    assert 60 <= sum(f.tier != "drop" for f in found) <= 100
