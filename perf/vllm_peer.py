"""The real vLLM as a peer: its server in its own environment, spoken to over HTTP with token ids."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
from transformers import PreTrainedModel

from posttrain.engines import Prompt
from posttrain.engines.vllm import VLLMConfig
from posttrain.engines.vllm.server import NAME, Launch, Server, find_environment
from posttrain.errors import EngineError


def python_of_vllm() -> Path | None:
    """The interpreter of vLLM's environment, None where there is none."""
    try:
        return find_environment(VLLMConfig()).python
    except EngineError:
        return None


@contextmanager
def serving(
    model: PreTrainedModel, *, dtype: str = "float32", max_batch: int = 64, context: int = 512
) -> Iterator[Callable[[list[Prompt], int], int]]:
    """A running server of `model`; the callable generates `new` tokens for all prompts and returns how many came.

    The server as vLLM starts it by itself: compiled, on the threads it chooses, asked for all prompts in one request
    and for no log-probabilities. Between its turns it is stopped (SIGSTOP): its idle processes spin, which slowed the
    contestant whose turn it was by half.
    """
    config = VLLMConfig(max_model_len=context)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model.save_pretrained(folder / "model")
        launch = Launch(config, find_environment(config), dtype, max_batch, folder / "log", scratch=folder)
        server = Server(launch, folder / "model")
        family = [psutil.Process(server.process.pid), *psutil.Process(server.process.pid).children(recursive=True)]

        def ask(prompts: list[Prompt], new: int) -> int:
            _signal(family, signal.SIGCONT)
            try:
                return _ask(server.url, prompts, new)
            finally:
                _signal(family, signal.SIGSTOP)

        try:
            _signal(family, signal.SIGSTOP)
            yield ask
        finally:
            _signal(family, signal.SIGCONT)
            server.stop()


def _signal(family: list[psutil.Process], number: signal.Signals) -> None:
    for process in family:
        process.send_signal(number)


def _ask(url: str, prompts: list[Prompt], new: int) -> int:
    body = {
        "model": NAME,
        "prompt": [list(p.token_ids) for p in prompts],
        "max_tokens": new,
        "temperature": 1.0,
        "ignore_eos": True,
    }
    answer = httpx.post(f"{url}/v1/completions", json=body, timeout=600, trust_env=False).raise_for_status().json()
    return int(answer["usage"]["completion_tokens"])
