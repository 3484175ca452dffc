"""GRPO of a 1.5B model on one card of 24 GB: planned before the card is rented, from the recipes that ship."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.unit.forecasts.test_forecasts import QWEN_1_5B

from posttrain.pipeline import build_graph, load_recipe, plan_graph

CARD = 24e9
SMALL = ("lora={rank: 64}", "optimizer.name=adamw_8bit", "gradient_checkpointing=true")
RECIPES = ("gsm8k-grpo", "cs336-grpo", "openr1-math-grpo")


@pytest.fixture(autouse=True)
def _the_model_in_a_mirror_and_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("Qwen2.5-Math-1.5B", "Qwen2.5-1.5B-Instruct"):
        folder = tmp_path / "mirror" / "models" / "Qwen" / name
        folder.mkdir(parents=True)
        (folder / "mirror.json").write_text("{}")
        (folder / "config.json").write_text(json.dumps(QWEN_1_5B))
    monkeypatch.setenv("POSTTRAIN_DATA", str(tmp_path / "mirror"))
    monkeypatch.setattr("posttrain.models.cost.on_gpu", lambda: True)


def needs(recipe: str, folder: Path, *settings: str) -> float:
    """Peak bytes of the stage rl, as `posttrain plan` tells them."""
    graph = build_graph(load_recipe(recipe, [f"rl.{setting}" for setting in settings]))
    (told,) = [one.forecast["memory_bytes"] for one in plan_graph(graph, folder / "run") if one.node.spec.name == "rl"]
    assert told is not None
    return told


@pytest.mark.parametrize("recipe", RECIPES)
def test_adapters_8_bit_moments_and_checkpointing_fit(recipe: str, tmp_path: Path) -> None:
    assert needs(recipe, tmp_path, *SMALL) < CARD


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_weight_with_adamw_in_float32_does_not(recipe: str, tmp_path: Path) -> None:
    """Weight, gradient and two moments are 16 bytes of each of 1.54e9 weights: more than the card, without the rest."""
    assert needs(recipe, tmp_path, "dtype=float32") > 16 * 1_543_714_304 > CARD


@pytest.mark.parametrize("left", SMALL)
def test_each_of_the_three_saves_memory(left: str, tmp_path: Path) -> None:
    others = [setting for setting in SMALL if setting != left]
    assert needs("gsm8k-grpo", tmp_path, *SMALL) < needs("gsm8k-grpo", tmp_path, *others)


def test_below_adapters_the_reference_of_a_kl_term_costs_no_second_copy(tmp_path: Path) -> None:
    assert needs("gsm8k-grpo", tmp_path, *SMALL, "kl=0.04") == needs("gsm8k-grpo", tmp_path, *SMALL)
    whole, copied = (needs("gsm8k-grpo", tmp_path, *more) for more in ((), ("kl=0.04",)))
    assert copied - whole == pytest.approx(4 * 1_543_714_304, rel=1e-3)


def test_openr1_math_grpo_needs_what_its_head_says(tmp_path: Path) -> None:
    assert CARD < needs("openr1-math-grpo", tmp_path) < 48e9
    assert needs("openr1-math-grpo", tmp_path, "lora={rank: 64}", "optimizer.name=adamw_8bit") < CARD
