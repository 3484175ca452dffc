"""The real vLLM server as a teacher: 200 problems over its public HTTP API, and the server dies in the middle."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.unit.engines.tiny import tiny
from tests.unit.traces.scripted import ask, some_problems

from posttrain.data.synthetic import problems
from posttrain.engines.vllm import VLLMConfig
from posttrain.engines.vllm.server import HOST, environment_variables, find_environment, free_port
from posttrain.errors import EngineError
from posttrain.models import save_model, train_tokenizer

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]

COUNT = 200
START_SECONDS = 300.0


def command_of(model: Path, port: int) -> tuple[list[str], dict[str, str]]:
    """As one would start it by hand, with its tokenizer: a teacher is asked in text. Skips where there is no vLLM."""
    try:
        environment = find_environment(VLLMConfig())
    except EngineError as error:
        pytest.skip(str(error))
    command = [str(environment.python), "-m", "vllm.entrypoints.openai.api_server"]
    for name, value in {"model": model, "served-model-name": "tiny", "host": HOST, "port": port}.items():
        command += [f"--{name}", str(value)]
    command += ["--dtype", "float32", "--max-num-seqs", "16", "--enforce-eager", "--disable-uvicorn-access-log"]
    return command, environment_variables(os.environ, cpu=environment.cpu, gpus=None)


@contextmanager
def server(model: Path, port: int, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A healthy server in a process group of its own, which ends with the block."""
    command, environment = command_of(model, port)
    with log.open("ab") as sink:
        process = subprocess.Popen(command, env=environment, stdout=sink, stderr=sink, start_new_session=True)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not healthy(port):
            assert process.poll() is None, log.read_text(errors="replace")[-3000:]
            assert time.monotonic() < deadline, "it never came up"
            time.sleep(0.2)
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def healthy(port: int) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=2)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def test_200_problems_are_answered_once_though_the_server_dies_in_the_middle(tmp_path: Path) -> None:
    solved = problems(1, "train", COUNT, (1,))
    tokenizer = train_tokenizer([p.question for p in solved], 400)
    # Heads of 32: the server's attention on a CPU knows none smaller.
    model = tiny("qwen2", seed=0, vocab_size=len(tokenizer), num_attention_heads=2, num_key_value_heads=1)
    save_model(model, tokenizer, tmp_path / "model")
    port = free_port()
    journal = tmp_path / "journals" / "mine" / "replies.jsonl"
    limits = {"concurrency": 8, "retries": 20, "waves": 60, "timeout": 60}
    own = {
        "base_url": f"http://{HOST}:{port}/v1",
        "model": "tiny",
        "prices": {"input": 0, "output": 0},
        "limits": limits,
    }
    config = {"teacher": "mine", "define": {"mine": own}, "max_tokens": 12, "temperature": 1.0}
    deaths: list[int] = []

    def replies() -> int:
        return journal.read_bytes().count(b'"record":"reply"') if journal.exists() else 0

    with server(tmp_path / "model", port, tmp_path / "server.log") as first:
        second = threading.Event()
        done = threading.Event()

        def kill_and_start_again() -> None:
            while replies() < COUNT // 4:
                time.sleep(0.005)
            os.killpg(first.pid, signal.SIGKILL)
            deaths.append(replies())
            with server(tmp_path / "model", port, tmp_path / "server.log"):
                second.set()
                done.wait(START_SECONDS)

        killer = threading.Thread(target=kill_and_start_again, daemon=True)
        killer.start()
        try:
            samples = ask(tmp_path, some_problems(tmp_path, solved), **config)
        finally:
            done.set()
            killer.join(60)
    assert second.is_set()
    assert 0 < deaths[0] < COUNT, "it died in the middle"
    assert [s.problem_id for s in samples] == [p.id for p in solved]
    assert all(s.verdict is not None and s.extra["model"] == "tiny" for s in samples)
    assert all(1 <= s.extra["usage"]["completion"] <= 12 for s in samples)
    assert replies() == COUNT, "no question was answered twice"
    assert not healthy(port)
    again = ask(tmp_path, some_problems(tmp_path, solved), "again", **config)
    assert [s.response for s in again] == [s.response for s in samples], "from the journal, with no server to ask"
