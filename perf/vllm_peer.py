"""The real vLLM as a peer: its server in its own environment, spoken to over HTTP with token ids."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from transformers import PreTrainedModel

from posttrain.engines import Prompt

START_SECONDS = 240


def python_of_vllm() -> Path | None:
    """The interpreter of `.venv-vllm` beside the repository's root, None where there is none."""
    python = Path(__file__).resolve().parents[1] / ".venv-vllm" / "bin" / "python"
    return python if python.exists() else None


@contextmanager
def serving(model: PreTrainedModel) -> Iterator[Callable[[list[Prompt], int], int]]:
    """A running server of `model`; the callable generates `new` tokens for all prompts and returns how many came."""
    python = python_of_vllm()
    assert python is not None
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder, open(f"{folder}/log", "w+", encoding="utf-8") as log:
        model.save_pretrained(f"{folder}/model")
        environment = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1"}
        command = f"{python} -m vllm.entrypoints.openai.api_server --model {folder}/model --skip-tokenizer-init"
        command += f" --dtype float32 --max-model-len 512 --max-num-seqs 64 --port {port} --served-model-name m"
        server = subprocess.Popen(command.split(), env=environment, stdout=log, stderr=log, start_new_session=True)
        base = f"http://127.0.0.1:{port}"
        try:
            _wait(base, server, Path(log.name))
            yield lambda prompts, new: _ask(base, prompts, new)
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait(60)


def _wait(base: str, server: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and server.poll() is None:
        try:
            if httpx.get(f"{base}/health").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(1)
    tail = log.read_text(encoding="utf-8")[-2000:]
    raise RuntimeError(f"the vLLM server did not become healthy within {START_SECONDS} s; its log ends:\n{tail}")


def _ask(base: str, prompts: list[Prompt], new: int) -> int:
    body = {
        "model": "m",
        "prompt": [list(p.token_ids) for p in prompts],
        "max_tokens": new,
        "ignore_eos": True,
        "detokenize": False,
    }
    answer = httpx.post(f"{base}/v1/completions", json=body, timeout=600).raise_for_status().json()
    return int(answer["usage"]["completion_tokens"])
