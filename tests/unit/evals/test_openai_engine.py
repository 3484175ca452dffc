"""`eval` over a server of the OpenAI protocol: in chat without a tokenizer; the key stays out of every file."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from click.testing import CliRunner

from posttrain.cli import cli

KEY = "sk-planted-0a1b2c3d4e5f"


class Adder(BaseHTTPRequestHandler):
    """Adds the two numbers of a question, as a model might; refuses whoever has no key."""

    asked: ClassVar[list[dict[str, Any]]] = []

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append(body)
        numbers = [int(w) for w in body["messages"][-1]["content"].replace("?", "").split() if w.isdigit()]
        known = self.headers.get("Authorization") == f"Bearer {KEY}"
        text = f"The answer is {sum(numbers)}."
        value = {"choices": [{"index": 0, "finish_reason": "stop", "message": {"content": text}}]}
        raw = json.dumps(
            value if known else {"error": {"message": f"bad key {self.headers['Authorization']}"}}
        ).encode()
        self.send_response(200 if known else 401)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    Adder.asked.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Adder)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


def evaluate(folder: Path, url: str, *more: str) -> Any:
    rows = [{"id": str(i), "question": f"What is {i} + {i + 1} ?", "answer": str(2 * i + 1)} for i in range(9)]
    lines = [json.dumps({**row, "split": "test"}) for row in rows]
    (folder / "sums.jsonl").write_text("\n".join(lines), encoding="utf-8")
    runner = CliRunner()
    made = runner.invoke(
        cli, ["data", f"dataset={folder / 'sums.jsonl'}", f"out={folder / 'problems'}"], catch_exceptions=False
    )
    assert made.exit_code == 0, made.output
    arguments = ["models=[vendor/adder]", f"problems={folder / 'problems'}", "engine=openai", f"server.url={url}"]
    arguments += ["server.key_env=EVAL_KEY", "server.retries=0", f"out={folder / 'scores'}", *more]
    return runner.invoke(cli, ["eval", *arguments])


def test_a_model_behind_an_api_is_evaluated_and_the_key_is_in_no_file(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVAL_KEY", KEY)
    result = evaluate(tmp_path, url, "system=Be brief.")
    assert result.exit_code == 0, (result.output, result.exception)
    (entry,) = json.loads((tmp_path / "scores" / "scores.json").read_text(encoding="utf-8"))["entries"]
    assert entry["accuracy"] == 1.0
    assert entry["n"] == 9
    assert {body["model"] for body in Adder.asked} == {"vendor/adder"}
    assert Adder.asked[0]["messages"][0] == {"role": "system", "content": "Be brief."}
    written = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert len(written) > 4
    assert not [p for p in written if KEY.encode() in p.read_bytes()]
    assert KEY not in result.output


def test_a_server_that_refuses_the_key_is_told_without_it(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVAL_KEY", KEY + "-wrong")
    result = evaluate(tmp_path, url)
    assert "answered 401" in str(result.exception)
    assert KEY not in str(result.exception) + result.output
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and KEY.encode() in p.read_bytes()]
