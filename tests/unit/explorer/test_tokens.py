"""Tokens laid over their text."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posttrain.explorer.tokens import Vocabulary, advantage_class, levels, spans, vocabulary_of


@given(st.text(min_size=1, max_size=40), st.integers(0, 2**32))
def test_ranges_tile_the_text_however_its_bytes_were_cut(text: str, seed: int) -> None:
    text = text.encode("utf-8", "replace").decode()
    raw = text.encode()
    rng = np.random.default_rng(seed)
    cuts = sorted({0, len(raw), *rng.integers(0, len(raw) + 1, 5).tolist()})
    pieces = [raw[a:b] for a, b in itertools.pairwise(cuts)]
    ranges = spans(pieces, text)
    assert ranges is not None
    assert "".join(text[a:b] for a, b in ranges) == text
    assert all(a <= b for a, b in ranges)


def test_the_token_that_ended_the_text_has_no_place_in_it() -> None:
    assert spans([b"The", b" end", b"<|im_end|>"], "The end") == [(0, 3), (3, 7), (7, 7)]


def test_what_the_prompt_wrote_comes_before_the_first_token() -> None:
    assert spans([b"so", b" 4"], "<think>so 4") == [(7, 9), (9, 11)]


def test_sentencepieces_first_blank_is_no_character() -> None:
    assert spans([b" The", b" end"], "The end") == [(0, 3), (3, 7)]


def test_tokens_of_another_text_are_not_laid_over_it() -> None:
    assert spans([b"other"], "text") is None
    assert spans([], "text") is None


def test_levels_name_what_is_above_the_first_and_join_neighbours() -> None:
    ranges = [(0, 2), (2, 4), (4, 6), (6, 8)]
    values = np.array([0.0, 0.4, 0.5, 9.0])
    assert levels(ranges, values, (0.05, 0.3, 0.8), "e") == [(2, 6, "e2"), (6, 8, "e3")]
    assert levels(ranges, np.array([np.nan] * 4), (0.05,), "e") == []


@pytest.mark.parametrize(
    ("value", "name"), [(None, ""), (0.0, ""), (0.3, "ap1"), (1.0, "ap2"), (2.5, "ap4"), (-1.2, "an3")]
)
def test_an_advantage_is_a_colour_by_sign_and_size(value: float | None, name: str) -> None:
    assert advantage_class(value) == name


def test_a_byte_level_vocabulary_spells_what_the_real_tokenizer_decodes(tmp_path: Path) -> None:
    from tokenizers import Tokenizer
    from tokenizers.decoders import ByteLevel as Decoder
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import ByteLevel
    from tokenizers.trainers import BpeTrainer

    real = Tokenizer(BPE())
    real.pre_tokenizer, real.decoder = ByteLevel(add_prefix_space=False), Decoder()
    text = "Naïve café: 3 × 4 = 12 \U0001f600\n"
    real.train_from_iterator(
        [text] * 3,
        BpeTrainer(
            vocab_size=300, initial_alphabet=ByteLevel.alphabet(), special_tokens=["<|end|>"], show_progress=False
        ),
    )
    real.save(str(tmp_path / "tokenizer.json"))
    made = vocabulary_of(tmp_path)
    assert made is not None
    ids = [*real.encode(text).ids, 0]
    pieces = made.pieces(ids)
    assert pieces is not None
    assert b"".join(pieces).decode() == real.decode(ids, skip_special_tokens=False)
    assert made.pieces([10**6]) is None


def test_a_file_that_is_no_tokenizer_gives_none(tmp_path: Path) -> None:
    assert vocabulary_of(tmp_path) is None
    (tmp_path / "tokenizer.json").write_text("[]")
    assert vocabulary_of(tmp_path) is None


def test_sentencepiece_pieces_are_bytes_and_blanks(tmp_path: Path) -> None:
    told = {"model": {"vocab": {"\u2581The": 0, "<0xE2>": 1}}, "added_tokens": []}
    (tmp_path / "tokenizer.json").write_text(json.dumps(told))
    assert Vocabulary(tmp_path / "tokenizer.json").pieces([0, 1]) == [b" The", b"\xe2"]
