"""`posttrain chat` and `posttrain parity` on a tiny checkpoint."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from posttrain.cli.chat import chat
from posttrain.cli.parity import parity
from posttrain.models import TinyConfig, save_model, tiny_model, train_tokenizer


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    tokenizer = train_tokenizer(["hello how are you", "1 + 2 = 3 fine thanks"] * 20, 320)
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_model(tiny_model(tokenizer, TinyConfig(hidden=32, layers=2, heads=2), seed=0), tokenizer, folder)
    return str(folder)


def test_chat_answers_each_piped_line_and_repeats_itself_by_seed(checkpoint: str) -> None:
    arguments = [checkpoint, "--max-tokens", "6", "--system", "be brief"]
    text = "hello\nhow are you\n/new\nhello\n"
    first = CliRunner().invoke(chat, arguments, input=text, catch_exceptions=False)
    again = CliRunner().invoke(chat, arguments, input=text, catch_exceptions=False)
    assert first.exit_code == 0
    assert first.output.count("\n") >= 3
    assert first.output == again.output
    assert CliRunner().invoke(chat, [*arguments, "--seed", "1"], input=text).output != first.output


def test_parity_prints_both_paths_and_holds(checkpoint: str) -> None:
    plain = CliRunner().invoke(parity, [checkpoint, "--prompts", "3", "--tokens", "10"], catch_exceptions=False)
    assert plain.exit_code == 0
    assert "sampled" in plain.output
    result = CliRunner().invoke(parity, [checkpoint, "--prompts", "3", "--tokens", "10", "--json"])
    numbers = json.loads(result.output)
    assert numbers["sampled"]["tokens"] == 30
    assert numbers["scored"]["max"] < 1e-4
