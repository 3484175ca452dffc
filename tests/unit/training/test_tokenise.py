"""What becomes of rows on their way to tokens, and what a person is shown of it."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from posttrain.errors import DataError
from posttrain.models import train_tokenizer
from posttrain.prompts import Example, get_template
from posttrain.prompts.text import ALPACA_INPUT_PREAMBLE
from posttrain.records import Sample
from posttrain.training.plot import draw_loss
from posttrain.training.preview import coloured, show
from posttrain.training.tokenise import tokenise

TEXTS = ["What is 3 + 4? It is 7. Add 3 and 4 user assistant Below is an instruction Response Input"]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TEXTS * 5, 320)


def sample(response="It is 7.", question="What is 3 + 4?", **extra):
    return Sample("p", 0, question, response, "test", extra=extra)


def length(tokenizer, *samples):
    return [len(get_template("chat").example(s.question, s.response, tokenizer).ids) for s in samples]


def test_rows_without_a_response_are_left_out_and_counted(tokenizer):
    examples, report = tokenise([sample(), sample(""), sample(" \n")], get_template("chat"), tokenizer, max_tokens=99)
    assert (len(examples), report.rows, report.kept, report.empty) == (1, 3, 1, 2)
    assert report.lines()[1] == "left out: 2 without a response (0 tokens)"


def test_long_sequences_are_dropped_cut_or_an_error(tokenizer):
    short, long = sample(), sample("It is 7. " * 20)
    few, many = length(tokenizer, short, long)
    rows, chat, limit = [short, long], get_template("chat"), few + 5
    examples, report = tokenise(rows, chat, tokenizer, max_tokens=limit)
    assert (len(examples), report.too_long, report.dropped) == (1, 1, many)

    examples, report = tokenise(rows, chat, tokenizer, max_tokens=limit, overlong="truncate")
    assert len(examples[1].ids) == len(examples[1].mask) == limit
    assert (report.too_long, report.truncated, report.cut, report.ended) == (0, 1, many - limit, 1)
    assert f"cut short: 1 rows by {many - limit} tokens" in report.lines()[1]

    with pytest.raises(DataError, match=f"p has {many} tokens, more than max_tokens {limit}"):
        tokenise(rows, chat, tokenizer, max_tokens=limit, overlong="error")


def test_a_row_cut_before_its_answer_has_nothing_to_teach(tokenizer):
    rows = [sample(), sample(question="What is 3 + 4? " * 30)]
    limit = length(tokenizer, rows[0])[0]
    _, report = tokenise(rows, get_template("chat"), tokenizer, max_tokens=limit, overlong="truncate")
    assert (report.kept, report.unsupervised) == (1, 1)
    with pytest.raises(DataError, match=r"none of 1 rows can be trained on: .* 1 have no token with loss"):
        tokenise(rows[1:], get_template("chat"), tokenizer, max_tokens=limit, overlong="truncate")


def test_training_that_never_shows_where_to_stop_is_an_error(tokenizer):
    rows = [sample("It is 7. " * 20)]
    with pytest.raises(DataError, match="would never learn to stop"):
        tokenise(rows, get_template("chat"), tokenizer, max_tokens=40, overlong="truncate")


@pytest.mark.parametrize(("loss_on", "runs"), [("response", 1), ("assistant", 2), ("sequence", 1)])
def test_conversations_carry_loss_where_it_is_asked_for(loss_on, runs, tokenizer):
    turns = [("user", "What is 3 + 4?"), ("assistant", "It is 7."), ("user", "Add 3 and 4"), ("assistant", "7")]
    row = sample(messages=[{"role": role, "content": content} for role, content in turns])
    ((example,), _) = tokenise([row], get_template("chat"), tokenizer, max_tokens=200, loss_on=loss_on)
    starts = sum(m and not before for m, before in zip(example.mask, (0, *example.mask), strict=False))
    assert starts == runs
    assert all(example.mask) == (loss_on == "sequence")


def test_alpaca_sets_an_input_apart(tokenizer):
    row = sample("7", question="Add\n3 and 4", instruction="Add", input="3 and 4")
    ((example,), _) = tokenise([row], get_template("alpaca"), tokenizer, max_tokens=400)
    text = tokenizer.decode(list(example.ids))
    assert text.startswith(f"{ALPACA_INPUT_PREAMBLE}### Instruction:\nAdd\n\n### Input:\n3 and 4\n\n### Response:\n7")


def test_the_preview_colours_what_carries_loss_and_shows_no_control_characters(tokenizer):
    template = get_template("chat")
    text = coloured(template.example("What is\x1b[2J 3?", "It is 7.", tokenizer), tokenizer)
    assert "\x1b" not in text.plain
    assert "\\x1b" in text.plain
    assert [text.plain[s.start : s.end] for s in text.spans if s.style == "green"] == ["It is 7.<|im_end|>"]
    out = io.StringIO()
    show(template.example("What is 3?", "It is [bold] 7.", tokenizer), tokenizer, Console(file=out))
    assert "⟦It is [bold] 7.<|im_end|>⟧" in out.getvalue()


def test_the_preview_leaves_out_the_middle_of_what_is_long(tokenizer):
    text = coloured(Example((60,) * 1000, (0,) * 500 + (1,) * 500), tokenizer).plain
    assert "…600 tokens…" in text
    assert len(text) < 1000


def test_the_same_losses_draw_the_same_picture(tmp_path):
    rows = [
        {"step": 0, "val_loss": 3.0},
        *({"step": s, "loss": 3 / s} for s in range(1, 20)),
        {"step": 9, "val_loss": 1},
    ]
    for name in ("a.png", "b.png"):
        draw_loss(rows, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    draw_loss([{"step": 1, "reward": 1.0}], tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()
