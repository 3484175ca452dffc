"""`posttrain chat`, `posttrain parity` and `posttrain serve` on a tiny checkpoint."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from tests.unit.training.methods import make_base

from posttrain.cli.chat import chat
from posttrain.cli.parity import parity
from posttrain.cli.serve import serve
from posttrain.engines.native import NativeEngine
from posttrain.engines.server.app import Server
from posttrain.errors import EngineError, ModelError
from posttrain.models import TinyConfig, load_model, load_tokenizer, save_model, tiny_model, train_tokenizer
from posttrain.models.base import base_facts
from posttrain.models.config import LoraConfig
from posttrain.models.lora import add_lora


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
    narrow = CliRunner().invoke(
        parity, [checkpoint, "--prompts", "3", "--tokens", "10", "--dtype", "bfloat16", "--json"]
    )
    assert narrow.exit_code == 0
    told = json.loads(narrow.output)
    assert (told["of"], told["tolerance"]) == ("mean", 0.01)
    assert 1e-6 < told["sampled"]["mean"] <= 0.01


@pytest.mark.parametrize(("dtype", "beyond"), [("float32", 3e-4), ("bfloat16", 0.02)])
def test_parity_fails_where_the_precision_does_not_explain_the_difference(
    checkpoint: str, monkeypatch: pytest.MonkeyPatch, dtype: str, beyond: float
) -> None:
    """A sampler that is off by the same amount at every token."""
    score = NativeEngine.score
    monkeypatch.setattr(NativeEngine, "score", lambda *a: ([v + beyond for v in s] for s in score(*a)))
    done = CliRunner().invoke(parity, [checkpoint, "--prompts", "2", "--tokens", "5", "--dtype", dtype])
    assert isinstance(done.exception, EngineError)
    assert "scored log-probabilities differ" in str(done.exception)


def test_serve_offers_a_base_with_its_adapter(checkpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the server would serve, taken from it before it begins: the answers are those of the merged model."""
    pytest.importorskip("peft", reason="adapters need the extra `lora`")
    model = load_model(checkpoint)
    add_lora(model, LoraConfig(rank=4), seed=0, base=base_facts(checkpoint, None, None))
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=draw))
    save_model(model, load_tokenizer(checkpoint), tmp_path / "adapter")
    ids = tuple(range(3, 30))
    scores: list[list[float]] = []

    def score_once(server: Server, bound: socket.socket) -> None:
        bound.close()
        scores.append(next(iter(server.loop.engine.score([ids]))))
        server.close()

    monkeypatch.setattr("posttrain.engines.server.app.run", score_once)
    for more in ([], ["--adapter", str(tmp_path / "adapter")]):
        done = CliRunner().invoke(serve, [checkpoint, "--port", "0", *more], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        assert "tiny at http://127.0.0.1:" in done.output
    merged = next(iter(NativeEngine(load_model(tmp_path / "adapter"), pad_id=0).score([ids])))
    assert scores[1] == pytest.approx(merged, abs=1e-4)
    assert scores[0] != pytest.approx(merged, abs=1e-2)


def test_serve_says_that_an_adapter_is_of_another_base(checkpoint: str, tmp_path: Path) -> None:
    pytest.importorskip("peft", reason="adapters need the extra `lora`")
    other = make_base(tmp_path / "other")
    model = load_model(other)
    add_lora(model, LoraConfig(rank=4), seed=0, base=base_facts(other, None, None))
    save_model(model, load_tokenizer(other), tmp_path / "adapter")
    done = CliRunner().invoke(serve, [checkpoint, "--port", "0", "--adapter", str(tmp_path / "adapter")])
    assert isinstance(done.exception, ModelError)
    assert "was trained on other weights" in str(done.exception)
