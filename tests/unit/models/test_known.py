"""Models known by name: their numbers of parameters are those that their makers' safetensors tell."""

from __future__ import annotations

from pathlib import Path

import pytest

from posttrain.models.size import read_shape

PARAMETERS = {
    "Qwen/Qwen2.5-0.5B-Instruct": 494_032_768,
    "Qwen/Qwen2.5-Math-1.5B": 1_543_714_304,
    "Qwen/Qwen2.5-3B-Instruct": 3_085_938_688,
    "Qwen/Qwen2.5-7B": 7_615_616_512,
    "Qwen/Qwen3-0.6B": 596_049_920,
    "Qwen/Qwen3-8B": 8_190_735_360,
    "meta-llama/Llama-3.2-1B": 1_235_814_400,
    "meta-llama/Llama-3.1-8B-Instruct": 8_030_261_248,
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_known_model_has_as_many_parameters_as_its_maker_says(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POSTTRAIN_DATA", raising=False)
    shape = read_shape(Path(name))
    assert shape is not None
    assert shape.parameters == PARAMETERS[name]


@pytest.mark.parametrize("name", ["Qwen/Qwen2.5-72B", "someone/Qwen2.5-1.5B", "runs/x/model"])
def test_another_model_is_not_guessed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POSTTRAIN_DATA", raising=False)
    assert read_shape(Path(name)) is None
