"""`sft` from published data, packed in every way: the stages behind their command line."""

from __future__ import annotations

import json

import pytest
from safetensors.torch import load_file

from posttrain.models import TinyConfig, save_model, tiny_model, train_tokenizer
from posttrain.pipeline import run_stage

CHATS = [
    [("user", f"What is {a} + {b}?"), ("assistant", f"It is {a + b}."), ("user", "Sure?"), ("assistant", "Yes, I am.")]
    for a in range(2, 6)
    for b in range(3, 7)
]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    tokenizer = train_tokenizer([text for chat in CHATS for _, text in chat] * 3, 300)
    save_model(tiny_model(tokenizer, TinyConfig(hidden=32, layers=2, heads=2), seed=1), tokenizer, folder / "model")
    rows = [{"messages": [{"role": r, "content": c} for r, c in chat]} for chat in CHATS]
    rows.append({"messages": [{"role": "user", "content": "Silence?"}, {"role": "assistant", "content": ""}]})
    (folder / "chats.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    lessons = run_stage("examples", {"source": str(folder / "chats.jsonl")}, {}, folder / "lessons", quiet=True)
    return folder, lessons


def train(base, out, **config):
    folder, lessons = base
    settings = {"steps": 3, "batch_size": 8, "optimizer": {"lr": 1e-2}, **config}
    made = run_stage("sft", settings, {"model": str(folder / "model"), "traces": lessons}, out, quiet=True)
    rows = [json.loads(line) for line in (made.path / "metrics.jsonl").read_text().splitlines()]
    return made, rows


def test_packs_change_nothing_but_how_a_step_is_computed(base, tmp_path):
    plain, rows = train(base, tmp_path / "plain")
    packed, again = train(base, tmp_path / "packed", packing="documents", pack_tokens=64)
    small, third = train(base, tmp_path / "small", micro_tokens=32)
    weights = load_file(plain.model_dir / "model.safetensors")
    for other, theirs in ((packed, again), (small, third)):
        assert [r["loss"] for r in theirs] == pytest.approx([r["loss"] for r in rows], rel=1e-5)
        assert [r["supervised_tokens"] for r in theirs] == [r["supervised_tokens"] for r in rows]
        for name, value in load_file(other.model_dir / "model.safetensors").items():
            assert (value - weights[name]).norm() <= 1e-3 * weights[name].norm()
    assert (plain.path / "loss.png").read_bytes().startswith(b"\x89PNG")
    summary = json.loads((plain.path / "manifest.json").read_text())["summary"]
    assert summary["left_out"] == 1, "the row without an answer"


def test_loss_on_turns_and_concatenated_blocks(base, tmp_path):
    _, last = train(base, tmp_path / "last", steps=1, batch_size=16)
    _, turns = train(base, tmp_path / "turns", steps=1, batch_size=16, loss_on="assistant")
    assert turns[0]["supervised_tokens"] > last[0]["supervised_tokens"]
    _, blocks = train(base, tmp_path / "blocks", steps=1, packing="concatenate", block=32, loss_on="sequence")
    assert blocks[0]["supervised_tokens"] == 8 * 31
    assert blocks[0]["tokens"] == 8 * 32


def test_what_is_shown_before_training(base, tmp_path, capsys):
    folder, lessons = base
    inputs = {"model": str(folder / "model"), "traces": lessons}
    run_stage("sft", {"steps": 1, "batch_size": 4}, inputs, tmp_path / "told")
    out = capsys.readouterr().out
    assert "16 of 17 rows" in out
    assert "left out: 1 without a response" in out
    assert "⟦Yes, I am.<|im_end|>⟧" in out


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"template": "chatt"}, "unknown template 'chatt'. Did you mean 'chat'"),
        ({"overlong": "error", "max_tokens": 12}, "more than max_tokens 12"),
        ({"overlong": "drop", "max_tokens": 12}, "none of 17 rows can be trained on"),
        ({"template": "alpaca"}, "has 4 turns"),
        ({"pack_tokens": 64}, "'pack_tokens' is read with packing: documents only"),
    ],
)
def test_bad_settings_are_told_before_training(config, why, base, tmp_path):
    with pytest.raises(ValueError, match=why):
        train(base, tmp_path / "bad", **config)
