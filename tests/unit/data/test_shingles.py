"""Hashed n-grams against n-grams of words."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from posttrain.data.contamination import grams, masked, tokens
from posttrain.data.shingles import NUMBER, OPERATOR, WORD, Vocabulary, bag_hashes, ngrams, sequence_hashes

TEXTS = st.lists(st.text(alphabet="ab 12,.+-=x", max_size=30), max_size=6)


def read(*texts: str):  # type: ignore[no-untyped-def]
    return Vocabulary().read(texts)


@given(TEXTS, st.integers(1, 5))
def test_different_ngrams_are_as_many_as_of_words(texts: list[str], n: int) -> None:
    hashes, rows = ngrams(read(*texts).without_operators(), n)
    for i, text in enumerate(texts):
        assert len(set(hashes[rows == i].tolist())) == len(grams(tokens(text), n))


@given(TEXTS, st.integers(1, 4))
def test_masked_ngrams_are_as_many_as_of_masked_words(texts: list[str], n: int) -> None:
    hashes, rows = ngrams(read(*texts).without_operators().masked(), n)
    for i, text in enumerate(texts):
        assert len(set(hashes[rows == i].tolist())) == len(grams(masked(tokens(text)), n))


def test_an_ngram_has_the_same_hash_wherever_it_stands() -> None:
    hashes, rows = ngrams(read("one two three four", "zero one two three", "three two one"), 3)
    assert hashes[0] == hashes[3]  # one two three
    assert rows.tolist() == [0, 0, 1, 1, 2]
    assert len(set(hashes.tolist())) == 4


def test_a_short_text_is_no_part_of_a_longer_one() -> None:
    hashes, rows = ngrams(read("how many", "how many cats are there"), 4)
    assert rows.tolist() == [0, 1, 1]
    assert hashes[0] not in hashes[1:]


def test_words_are_told_apart_from_numbers_and_operators() -> None:
    words = read("Pay $1,200.50 + 3x - no, 4-2")
    assert words.kinds.tolist() == [WORD, NUMBER, OPERATOR, NUMBER, WORD, WORD, NUMBER, OPERATOR, NUMBER]
    assert read("1,200").hashes[0] == read("1200").hashes[0]


def test_a_sequence_knows_its_order_and_a_bag_does_not() -> None:
    words = read("a b c", "c b a", "a b c", "", "a b c c")
    in_order, in_any = sequence_hashes(words), bag_hashes(words)
    assert in_order[0] == in_order[2] != in_order[1]
    assert in_any[0] == in_any[1] != in_any[4]
    assert in_order[3] == in_any[3] == 0


def test_hashes_are_the_same_in_every_process() -> None:
    # BLAKE2b-64 of "word", little endian, from hashlib; no process seed has a part in it.
    import hashlib

    wanted = int.from_bytes(hashlib.blake2b(b"word", digest_size=8).digest(), "little")
    assert int(read("Word").hashes[0]) == wanted


def test_lone_surrogates_are_read() -> None:
    assert len(read("a \ud800 b").hashes) == 2 or np.all(read("a \ud800 b").hashes > 0)
