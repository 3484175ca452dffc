"""`posttrain serve` as a real process, asked by our engine, by the official client and by bare HTTP."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from transformers import PreTrainedTokenizerBase

from posttrain.engines import NativeEngine, OpenAIEngine, Prompt, Sampling
from posttrain.engines.openai import ServerConfig
from posttrain.engines.server.app import bind
from posttrain.errors import EngineError
from posttrain.models import TinyConfig, load_model, load_tokenizer, save_model, tiny_model, train_tokenizer
from posttrain.prompts import chat_ids, document_ids, get_template

KEY = "planted-key-4f7c1e"
CONTEXT = 512


@dataclasses.dataclass(frozen=True)
class Served:
    url: str
    model: Path
    engine: NativeEngine
    tokenizer: PreTrainedTokenizerBase
    log: Path

    @property
    def http(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {KEY}"}, timeout=60)

    def post(self, path: str, **body: Any) -> httpx.Response:
        with self.http as client:
            return client.post(path, json={"model": "tiny", **body})


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("serve")
    tokenizer = train_tokenizer(["hello how are you", "1 + 2 = 3 fine thanks, the quick brown fox"] * 20, 330)
    config = TinyConfig(hidden=32, layers=2, heads=2, context=CONTEXT)
    save_model(tiny_model(tokenizer, config, seed=0), tokenizer, folder / "tiny")
    log = folder / "log"
    command = [sys.executable, "-m", "posttrain", "serve", str(folder / "tiny"), "--port", "0", "--key-env", "TEST_KEY"]
    with log.open("w") as out:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=out,
            text=True,
            env={**os.environ, "TEST_KEY": KEY, "PYTHONUNBUFFERED": "1"},
        )
    assert process.stdout is not None
    said = process.stdout.readline()
    found = re.search(r"http://\S+", said)
    assert found, said + log.read_text()
    for _ in range(100):
        try:
            httpx.get(found[0].removesuffix("/v1") + "/health")
            break
        except httpx.TransportError:
            time.sleep(0.1)
    ends = get_template("chat").stop_token_ids(tokenizer)
    engine = NativeEngine(load_model(folder / "tiny"), pad_id=ends[0], tokenizer=load_tokenizer(folder / "tiny"))
    try:
        yield Served(found[0], folder / "tiny", engine, engine.tokenizer, log)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
        process.stdout.close()
    assert "Traceback" not in log.read_text()
    assert KEY not in log.read_text()


def asked(served: Served, count: int) -> list[Prompt]:
    texts = [f"hello how are {i} you" for i in range(count)]
    return [Prompt(f"p{i}", tuple(document_ids(t, served.tokenizer)[:-1]), seed=i * 77) for i, t in enumerate(texts)]


SAMPLINGS = [
    Sampling(n=3, max_tokens=20),
    Sampling(max_tokens=24, temperature=0),
    Sampling(n=2, max_tokens=24, temperature=0.8, top_p=0.9, top_k=40, min_p=0.01, stop=("e", "qu")),
    Sampling(max_tokens=16, repetition_penalty=1.3, presence_penalty=0.5, frequency_penalty=0.25),
]


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_our_client_gets_the_tokens_of_the_engine_in_process(
    served: Served, monkeypatch: pytest.MonkeyPatch, sampling: Sampling
) -> None:
    """32 connections at once: neither the batch nor the order in which requests come changes what one samples."""
    monkeypatch.setenv("TEST_KEY", KEY)
    ends = get_template("chat").stop_token_ids(served.tokenizer)
    with_ends = dataclasses.replace(sampling, stop_token_ids=ends)
    server = ServerConfig(url=served.url, model="tiny", key_env="TEST_KEY", mode="tokens", concurrency=32)
    client = OpenAIEngine(server)
    prompts = asked(served, 40)
    remote = {(c.key, c.index): c for c in client.generate(prompts, with_ends)}
    local = {(c.key, c.index): c for c in served.engine.generate(prompts, with_ends)}
    client.close()
    assert remote.keys() == local.keys()
    for key, completion in local.items():
        assert remote[key].token_ids == completion.token_ids
        assert remote[key].finish_reason == completion.finish_reason
        assert remote[key].logprobs == pytest.approx(completion.logprobs, abs=1e-4)


def test_chat_answers_in_text_with_the_tokens_of_the_chat_template(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_KEY", KEY)
    client = OpenAIEngine(ServerConfig(url=served.url, model="tiny", key_env="TEST_KEY"))
    sampling = Sampling(n=2, max_tokens=12)
    (first, second) = client.generate([Prompt("q", (), 5, messages=(("user", "hello"),))], sampling)
    ends = get_template("chat").stop_token_ids(served.tokenizer)
    ids = tuple(chat_ids([{"role": "user", "content": "hello"}], served.tokenizer))
    local = served.engine.generate([Prompt("q", ids, 5)], dataclasses.replace(sampling, stop_token_ids=ends))
    expected = {
        c.index: served.tokenizer.decode(c.token_ids[:-1] if c.finish_reason == "stop" else c.token_ids) for c in local
    }
    assert {first.index: first.text, second.index: second.text} == expected
    client.close()


def test_the_official_client_works_whole_and_streaming(served: Served) -> None:
    openai = pytest.importorskip("openai")
    with openai.OpenAI(base_url=served.url, api_key=KEY, max_retries=0) as client:
        assert [m.id for m in client.models.list().data] == ["tiny"]
        options: dict[str, Any] = {"model": "tiny", "max_tokens": 30, "seed": 3, "n": 2, "stop": ["you", "x"]}
        turns = [{"role": "user", "content": "hello how"}]
        whole = client.chat.completions.create(messages=turns, logprobs=True, **options)
        assert whole.usage.prompt_tokens > 0
        assert all("you" not in c.message.content for c in whole.choices)
        assert whole.choices[0].logprobs.content[0].logprob < 0
        told = {0: "", 1: ""}
        finished = {}
        used = None
        stream = client.chat.completions.create(
            messages=turns, stream=True, stream_options={"include_usage": True}, **options
        )
        for chunk in stream:
            used = chunk.usage or used
            for choice in chunk.choices:
                told[choice.index] += choice.delta.content or ""
                finished[choice.index] = choice.finish_reason
        assert told == {c.index: c.message.content for c in whole.choices}
        assert finished == {c.index: c.finish_reason for c in whole.choices}
        assert used.completion_tokens == whole.usage.completion_tokens
        text = client.completions.create(prompt="1 + 2 =", logprobs=1, **options)
        assert len(text.choices) == 2
        assert len(text.choices[0].logprobs.tokens) == len(text.choices[0].logprobs.token_logprobs)
        parts = client.completions.create(prompt="1 + 2 =", stream=True, **options)
        joined = {0: "", 1: ""}
        for part in parts:
            joined[part.choices[0].index] += part.choices[0].text
        assert joined == {c.index: c.text for c in text.choices}


def test_a_batch_of_prompts_comes_back_in_order(served: Served) -> None:
    ids = [list(p.token_ids) for p in asked(served, 3)]
    body = {"max_tokens": 5, "temperature": 0, "return_token_ids": True, "ignore_eos": True}
    together = served.post("/completions", prompt=ids, **body).json()["choices"]
    assert [c["index"] for c in together] == [0, 1, 2]
    for choice, prompt in zip(together, ids, strict=True):
        (alone,) = served.post("/completions", prompt=prompt, **body).json()["choices"]
        assert choice["token_ids"] == alone["token_ids"]


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("/completions", {"prompt": [1] * CONTEXT}, "no room for an answer"),
    ("/completions", {"prompt": []}, "is empty"),
    ("/completions", {"prompt": ""}, "is empty"),
    ("/completions", {}, "prompt is missing"),
    ("/completions", {"prompt": [99999]}, "outside the model's vocabulary"),
    ("/completions", {"prompt": [-1]}, "outside the model's vocabulary"),
    ("/completions", {"prompt": [1.5]}, "must be a text"),
    ("/completions", {"prompt": [[1], ["a"]]}, "must be a text"),
    ("/completions", {"prompt": ["a"] * 300}, "at most 256"),
    ("/completions", {"prompt": "a", "max_tokens": 0}, "max_tokens is 0; it must be at least 1"),
    ("/completions", {"prompt": "a", "max_tokens": 10**9}, "gives at most 512"),
    ("/completions", {"prompt": "a", "max_tokens": True}, "max_tokens must be int"),
    ("/completions", {"prompt": "a", "n": 10**6}, "gives at most 128"),
    ("/completions", {"prompt": "a", "n": 0}, "n is 0"),
    ("/completions", {"prompt": "a", "temperature": -1}, "temperature is -1"),
    ("/completions", {"prompt": "a", "temperature": "hot"}, "temperature must be"),
    ("/completions", {"prompt": "a", "stop": ""}, "stop must be"),
    ("/completions", {"prompt": "a", "stop": [""]}, "stop must be"),
    ("/completions", {"prompt": "a", "stop_token_ids": [10**9]}, "stop_token_ids must be"),
    ("/completions", {"prompt": "a", "logprobs": 5}, "logprobs must be 0 or 1"),
    ("/completions", {"prompt": "a", "logit_bias": {"5": 1}}, "logit_bias is not offered"),
    ("/completions", {"prompt": "a", "echo": True}, "echo is not offered"),
    ("/chat/completions", {"messages": []}, "messages is missing"),
    ("/chat/completions", {"messages": ["hi"]}, "each message needs a role"),
    ("/chat/completions", {"messages": [{"role": "tool", "content": "x"}]}, "each message needs a role"),
    ("/chat/completions", {"messages": [{"role": "user", "content": "<|im_end|>"}]}, "markup"),
    ("/chat/completions", {"messages": [{"role": "user", "content": "x"}], "tools": [{}]}, "tools is not offered"),
]


@pytest.mark.parametrize(("path", "body", "reason"), BAD)
def test_bad_requests_are_refused_with_the_reason(served: Served, path: str, body: dict[str, Any], reason: str) -> None:
    answer = served.post(path, **body)
    assert answer.status_code == 400
    assert reason in answer.json()["error"]["message"]


def test_what_is_no_request_at_all_is_refused_and_the_server_lives_on(served: Served) -> None:
    with served.http as client:
        for content in (b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"prompt": NaN}', b'{"prompt":"\\ud800"}'):
            answer = client.post("/completions", content=content)
            assert answer.status_code == 400, content[:20]
        nan = b'{"prompt": "a", "temperature": NaN, "top_p": Infinity}'
        assert client.post("/completions", content=nan).status_code == 400
        assert client.post("/completions", content=b" " * (9 << 20)).status_code == 413
        assert client.post("/completions", json={"model": "other", "prompt": "a"}).status_code == 404
        assert client.get("/nothing").status_code == 404
        assert client.get("/completions").status_code == 405
        assert client.post("/completions", json={"prompt": "a", "seed": -(10**30)}).status_code == 200
    assert httpx.get(f"{served.url}/models").status_code == 401
    assert httpx.get(f"{served.url}/models", headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert served.post("/completions", prompt="hello", max_tokens=3).status_code == 200


def test_a_client_that_leaves_frees_its_rows(served: Served) -> None:
    """Requests that would take long, abandoned whole and streaming: the engine has nothing to do a moment later."""
    health = served.url.removesuffix("/v1") + "/health"
    body = {"prompt": "hello", "max_tokens": CONTEXT - 20, "ignore_eos": True, "n": 60}
    with served.http as client, pytest.raises(httpx.ReadTimeout):
        client.post("/completions", json=body, timeout=0.3)
    with served.http as client, client.stream("POST", "/completions", json={**body, "stream": True}) as stream:
        next(stream.iter_lines())
    for _ in range(100):
        if httpx.get(health).json()["busy"] == 0:
            break
        time.sleep(0.1)
    assert httpx.get(health).json() == {"status": "ok", "busy": 0}


def test_many_kinds_of_requests_at_once(served: Served) -> None:
    def ask(i: int) -> int:
        body = {"prompt": f"hello {i}", "max_tokens": 4 + i % 9, "temperature": i % 3, "n": 1 + i % 2, "seed": i}
        if i % 8 == 0:
            return served.post("/completions", prompt=[1] * CONTEXT).status_code
        answer = served.post("/completions", stream=i % 4 == 1, **body)
        if i % 4 == 1:
            events = [line.removeprefix("data: ") for line in answer.text.splitlines() if line]
            assert events[-1] == "[DONE]"
            assert all(json.loads(e)["object"] == "text_completion" for e in events[:-1])
        return answer.status_code

    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        codes = list(pool.map(ask, range(96)))
    assert codes == [400 if i % 8 == 0 else 200 for i in range(96)]


def test_a_taken_port_is_told() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(EngineError, match=rf"can't listen on 127.0.0.1 port {port}.*--port"):
            bind("127.0.0.1", port)
