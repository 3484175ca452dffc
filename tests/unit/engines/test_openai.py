"""The openai engine against a scripted server with faults on demand."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from posttrain.engines import OpenAIEngine, Prompt, Sampling
from posttrain.engines.openai import ServerConfig
from posttrain.errors import EngineError

KEY = "sk-planted-9d2f7a6b5c"

# A script: from (number of the request, its body) to (status, headers, body as JSON value or raw bytes).
Script = Callable[[int, dict[str, Any]], tuple[int, dict[str, str], Any]]


class Scripted(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, script: Script) -> None:
        self.script, self.bodies, self.keys = script, [], set()
        self.lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(BaseHTTPRequestHandler):
    server: Scripted

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            number = len(self.server.bodies)
            self.server.bodies.append((self.path, body))
            self.server.keys.add(self.headers.get("Authorization"))
        status, headers, value = self.server.script(number, body)
        raw = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for name, text in headers.items():
            self.send_header(name, text)
        self.send_header("Content-Length", headers.get("Content-Length", str(len(raw))))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., tuple[OpenAIEngine, Scripted]]]:
    monkeypatch.setenv("PLANTED_KEY", KEY)
    # Waits are measured where they matter; jitter is not.
    monkeypatch.setattr("posttrain.engines.openai.client.random.uniform", lambda low, high: 0.0)
    opened: list[tuple[OpenAIEngine, Scripted]] = []

    def start(script: Script, **options: Any) -> tuple[OpenAIEngine, Scripted]:
        server = Scripted(script)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/v1"
        config = ServerConfig(**{"url": url, "model": "m", "key_env": "PLANTED_KEY", "retries": 3, **options})
        opened.append((OpenAIEngine(config), server))
        return opened[-1]

    yield start
    for engine, server in opened:
        engine.close()
        server.shutdown()
        server.server_close()


def chat(*texts: str, **message: Any) -> dict[str, Any]:
    choices = [{"index": i, "finish_reason": "stop", "message": {"content": t, **message}} for i, t in enumerate(texts)]
    return {"choices": choices}


def ask(engine: OpenAIEngine, count: int = 1, sampling: Sampling | None = None) -> list[Any]:
    prompts = [Prompt(f"p{i}", (), i, messages=(("user", f"q{i}"),)) for i in range(count)]
    return list(engine.generate(prompts, sampling or Sampling()))


def test_every_prompt_is_answered_once_by_its_own_answer(serve: Any) -> None:
    engine, server = serve(lambda _, body: (200, {}, chat(body["messages"][0]["content"] * 2)), concurrency=8)
    found = {c.key: c.text for c in ask(engine, 50)}
    assert found == {f"p{i}": f"q{i}q{i}" for i in range(50)}
    assert server.keys == {f"Bearer {KEY}"}
    assert len(server.bodies) == 50


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
def test_passing_failures_are_repeated(serve: Any, status: int) -> None:
    engine, server = serve(lambda n, _: (status, {}, {"error": "busy"}) if n < 2 else (200, {}, chat("yes")))
    assert [c.text for c in ask(engine)] == ["yes"]
    assert len(server.bodies) == 3


def test_retry_after_is_kept_as_seconds_and_as_a_date(serve: Any) -> None:
    for said in ("1", formatdate(time.time() + 4, usegmt=True)):
        answers = [(429, {"Retry-After": said}, {}), (200, {}, chat("yes"))]
        engine, _ = serve(lambda n, _body, answers=answers: answers[n])
        began = time.monotonic()
        assert [c.text for c in ask(engine)] == ["yes"]
        assert time.monotonic() - began >= 0.9


def test_torn_bodies_are_repeated_and_then_an_error(serve: Any) -> None:
    torn = (200, {"Content-Length": "400", "Connection": "close"}, b'{"choices": [')
    engine, _ = serve(lambda n, _: [torn, (200, {}, b"<html>"), (200, {}, chat("whole"))][min(n, 2)])
    assert [c.text for c in ask(engine)] == ["whole"]
    engine, _ = serve(lambda n, _: (200, {}, b"<html>"), retries=1)
    with pytest.raises(EngineError, match=r"not JSON, 2 times.*server.retries"):
        ask(engine)


def test_refusals_are_told_at_once_without_the_key(serve: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    words = f"Incorrect API key provided: {KEY}. You sent '{KEY}' (as {KEY[:12]}****{KEY[-4:]})"
    said = {"error": {"message": words, "code": "invalid_api_key"}}
    engine, server = serve(lambda *_: (401, {}, said))
    with pytest.raises(EngineError, match=r"answered 401: Incorrect API key.*server.key_env") as caught:
        ask(engine)
    assert len(server.bodies) == 1
    assert KEY not in str(caught.value)
    assert KEY[:12] not in str(caught.value)
    assert KEY not in caplog.text
    assert KEY not in repr(engine.config)
    quota = {"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}
    engine, server = serve(lambda *_: (429, {}, quota))
    with pytest.raises(EngineError, match="exceeded your current quota"):
        ask(engine)
    assert len(server.bodies) == 1
    engine, _ = serve(lambda *_: (429, {"Retry-After": "86400"}, {}))
    with pytest.raises(EngineError, match=r"asks to wait 86400 s"):
        ask(engine)


def test_a_server_that_gives_one_choice_is_asked_for_the_others(serve: Any) -> None:
    engine, server = serve(lambda n, _: (200, {}, chat(f"a{n}")))
    assert [(c.index, c.text) for c in ask(engine, 1, Sampling(n=3))] == [(0, "a0"), (1, "a1"), (2, "a2")]
    assert [body["n"] for _, body in server.bodies] == [3, 2, 1]
    assert len({body["seed"] for _, body in server.bodies}) == 3


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_reasoning_beside_the_answer_becomes_a_thought(serve: Any, name: str) -> None:
    engine, _ = serve(lambda *_: (200, {}, chat("42", **{name: "six times seven"})))
    assert [c.text for c in ask(engine)] == ["<think>six times seven</think>42"]


def test_truncation_and_empty_answers_are_answers(serve: Any) -> None:
    cut = {"choices": [{"index": 0, "finish_reason": "length", "message": {"content": None}}]}
    engine, _ = serve(lambda *_: (200, {}, cut))
    (completion,) = ask(engine)
    assert (completion.text, completion.finish_reason) == ("", "length")


def test_only_what_differs_from_off_is_sent_to_strict_servers(serve: Any) -> None:
    engine, server = serve(lambda *_: (200, {}, chat("x")))
    ask(engine)
    ask(engine, 1, Sampling(top_k=5, presence_penalty=0.5, stop=("x",)))
    plain, full = (body for _, body in server.bodies)
    assert set(plain) == {"model", "messages", "temperature", "top_p", "max_tokens", "seed", "n"}
    assert set(full) - set(plain) == {"top_k", "presence_penalty", "stop"}


def test_answers_that_cannot_be_read_are_told(serve: Any) -> None:
    for value in ({}, {"choices": []}, {"choices": [{}]}, {"choices": ["x"]}):
        engine, _ = serve(lambda *_, value=value: (200, {}, value))
        with pytest.raises(EngineError, match=r"answered prompt 'p0' with"):
            ask(engine)
    engine, _ = serve(lambda *_: (200, {}, {"choices": [{"text": "no ids"}]}), mode="tokens")
    with pytest.raises(EngineError, match=r"no token ids.*mode to chat"):
        list(engine.generate([Prompt("p", (1,))], Sampling()))


def test_what_the_protocol_cannot_do_is_refused(serve: Any) -> None:
    engine, _ = serve(lambda *_: (200, {}, chat("x")))
    with pytest.raises(EngineError, match="entropies can't be had"):
        ask(engine, 1, Sampling(entropy=True))
    with pytest.raises(EngineError, match=r"token ids only.*server.mode"):
        list(engine.generate([Prompt("p", (1,))], Sampling()))
    with pytest.raises(EngineError, match="scoring"):
        next(engine.score([(1, 2)]))
    with pytest.raises(EngineError, match="can't be changed"):
        engine.load_weights(None, 1)


def test_a_server_that_is_not_there_is_told_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("posttrain.engines.openai.client.random.uniform", lambda low, high: 0.0)
    engine = OpenAIEngine(ServerConfig(url="http://127.0.0.1:9", model="m", retries=1))
    with pytest.raises(EngineError, match=r"ConnectError.*2 times\. Look whether the server is up"):
        ask(engine)
    engine.close()


def test_a_missing_key_and_a_key_in_the_config_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with pytest.raises(EngineError, match=r"NO_SUCH_KEY.*is not set.*export"):
        OpenAIEngine(ServerConfig(url="http://x/v1", model="m", key_env="NO_SUCH_KEY"))
    monkeypatch.setenv("COPIED_KEY", "sk-planted\u200b9d2f7a6b5c")
    with pytest.raises(EngineError, match=r"COPIED_KEY.*no HTTP header can carry") as caught:
        OpenAIEngine(ServerConfig(url="http://x/v1", model="m", key_env="COPIED_KEY"))
    assert "9d2f7a6b5c" not in str(caught.value)
    with pytest.raises(EngineError, match="not the name of an environment variable") as caught:
        ServerConfig(url="http://x/v1", model="m", key_env=KEY)
    assert KEY not in str(caught.value)
    for url in ("http://user:secret@x/v1", "http://x/v1?key=secret"):
        with pytest.raises(EngineError, match="would be stored") as caught:
            ServerConfig(url=url, model="m")
        assert "secret" not in str(caught.value)
    for url in ("ftp://x", "x"):
        with pytest.raises(ValueError, match="not an http address"):
            ServerConfig(url=url, model="m")
    with pytest.raises(EngineError, match=r"server\.model is missing"):
        OpenAIEngine(ServerConfig(url="http://x/v1"))


def test_prompts_are_pulled_as_connections_free(serve: Any) -> None:
    engine, _ = serve(lambda *_: (200, {}, chat("x")), concurrency=3)
    pulled: list[int] = []

    def source() -> Iterator[Prompt]:
        for i in range(1000):
            pulled.append(i)
            yield Prompt(str(i), (), messages=(("user", "q"),))

    stream = engine.generate(source(), Sampling())
    for _ in range(10):
        next(stream)
    assert len(pulled) <= 10 + 2 * 3
    stream.close()
