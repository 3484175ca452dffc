"""The real vLLM as a peer: its server in its own environment, spoken to over HTTP with token ids."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
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
    and for no log-probabilities.
    """
    config = VLLMConfig(max_model_len=context)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model.save_pretrained(folder / "model")
        launch = Launch(config, find_environment(config), dtype, max_batch, folder / "log", scratch=folder)
        server = Server(launch, folder / "model")
        try:
            yield lambda prompts, new: _ask(server.url, prompts, new)
        finally:
            server.stop()


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
