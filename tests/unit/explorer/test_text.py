"""Other people's text: escaped, bounded, nothing invisible."""

from __future__ import annotations

import html
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posttrain.explorer.text import LONGEST, paint, plain, reflections
from posttrain.explorer.words import difference


def _shown(markup: str) -> str:
    return html.unescape(re.sub(r"<[^>]*>", "", markup))


@given(st.text(max_size=60), st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=6))
def test_whatever_the_text_and_the_ranges_only_our_own_tags_come_out(text: str, ends: list[tuple[int, int]]) -> None:
    ranges, last = [], 0
    for a, b in sorted((min(e), max(e)) for e in ends):
        if a >= last and b > a:
            ranges.append((a, b, "new"))
            last = b
    painted = str(paint(text, [ranges]))
    assert set(re.findall(r"</?[a-z]+", painted)) <= {"<span", "</span"}
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u200b-\u200f\u202a-\u202e\u2066-\u2069]", painted)


@given(st.text(alphabet="ab <&>\"'\n", max_size=40))
def test_painting_keeps_the_text(text: str) -> None:
    assert _shown(str(paint(text, [[(0, 3, "x")], [(2, 9, "y")]]))) == text


def test_layers_that_overlap_give_a_character_all_their_classes() -> None:
    assert paint("abcdef", [[(0, 4, "x")], [(2, 6, "y")]]) == (
        '<span class="x">ab</span><span class="x y">cd</span><span class="y">ef</span>'
    )


def test_words_that_are_gone_stand_where_they_stood() -> None:
    assert paint("one three", gone=[(4, "two ")]) == "one <del>two </del>three"


def test_bidi_overrides_are_shown_by_name_and_change_no_direction() -> None:
    painted = paint("safe \u202e evil \u2066\u2066 x")
    assert 'title="right-to-left override">U+202E</span>' in painted
    assert "U+2066×2" in painted
    assert plain("a\u202eb") == "a⟨U+202E⟩b"


@pytest.mark.timeout(60)
def test_a_megabyte_is_cut_and_quick() -> None:
    painted = paint("\u202e\u202d" * 500_000)
    assert len(painted) < 80 * LONGEST
    assert len(plain("x" * 10**6)) == 201
    assert len(reflections("wait " * 200_000)) <= LONGEST / 5


def test_lone_surrogates_become_replacement_marks() -> None:
    assert plain("a\ud800b") == "a\ufffdb"


WORDS = st.lists(st.sampled_from(["one", "two", "three.", "\n", " ", "7", "+", "x"]), max_size=30).map(" ".join)


@given(WORDS, WORDS)
def test_what_is_new_and_what_is_gone_turn_one_text_into_the_other(a: str, b: str) -> None:
    found = difference(a, b)
    rebuilt, last = "", 0
    pieces = dict(found.gone)
    assert len(pieces) == len(found.gone)
    for at in sorted({*pieces, len(b)}):
        rebuilt += "".join(b[i] for i in range(last, at) if not any(s <= i < e for s, e, _ in found.new))
        rebuilt += pieces.get(at, "")
        last = at
    assert "".join(rebuilt.split()) == "".join(a.split())


def test_equal_texts_differ_in_nothing() -> None:
    assert difference("a b. c", "a b. c") == difference("", "")


def test_a_changed_number_is_the_only_difference() -> None:
    a, b = "First, 3 + 4 = 7. The answer is 7.", "First, 3 + 4 = 8. The answer is 7."
    found = difference(a, b)
    assert [b[s:e] for s, e, _ in found.new] == ["8"]
    assert [words for _, words in found.gone] == ["7"]


@pytest.mark.timeout(60)
def test_hostile_texts_are_compared_in_bounded_time() -> None:
    difference("a " * 500_000, "b " * 500_000)
    difference("a. " * 7_000, "b. " * 7_000)
    difference("ab" * 10_000, "ba" * 10_000)


def test_reflection_words_are_found_whole() -> None:
    text = "Wait, the waiter came. Let me check again. However"
    assert [text[a:b] for a, b, _ in reflections(text)][:1] == ["Wait"]
    assert "waiter" not in [text[a:b] for a, b, _ in reflections(text)]
