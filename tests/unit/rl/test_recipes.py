"""The recipes of the RL experiments hold what their authors published (the head of each says where)."""

from __future__ import annotations

from typing import Any

import pytest

from posttrain.pipeline import build_graph, load_recipe

GSM8K = {
    "prompts": 64,  # x 8 rollouts: 512 episodes per update
    "group": 8,
    "steps": 300,
    "updates": 1,
    "passes": 1,
    "optimizer.betas": [0.9, 0.95],
    "validation.every": 20,
    "validation.problems": 512,
}
PUBLISHED: dict[str, dict[str, Any]] = {
    "gsm8k-reinforce": {**GSM8K, "objective": "reinforce", "advantage": "none", "kl": 0.0},
    "gsm8k-reinforce-baseline": {**GSM8K, "objective": "reinforce", "advantage": "group_mean", "kl": 0.0},
    "gsm8k-grpo": {
        **GSM8K,
        "objective": "ppo_clip",
        "clip_low": 0.2,
        "clip_high": 0.2,
        "advantage": "group_norm",
        "kl": 0.0,
    },
    "openr1-math-grpo": {
        "algorithm": "grpo",
        "dtype": "bfloat16",
        "gradient_checkpointing": True,
        "optimizer.warmup": 0.05,
        "checkpoints.every": 50,
    },
    "cs336-grpo": {
        "steps": 200,
        "prompts": 32,
        "group": 8,
        "max_tokens": 1024,
        "temperature": 1.0,
        "template": "r1_zero",
        "optimizer.lr": 1e-5,
        "optimizer.betas": [0.9, 0.95],
        "optimizer.clip": 1.0,
        "passes": 1,
        "objective": "reinforce",
        "advantage": "group_norm",
        "epsilon": 1e-6,
    },
}
MODELS = {"openr1-math-grpo": "Qwen/Qwen2.5-1.5B-Instruct"}


def trained(name: str, *overrides: str) -> list[dict[str, Any]]:
    graph = build_graph(load_recipe(name, overrides))
    return [node.config.model_dump(mode="json") for node in graph.nodes.values() if node.spec.name == "rl"]


def at(config: dict[str, Any], path: str) -> Any:
    for key in path.split("."):
        config = config[key]
    return config


@pytest.mark.parametrize("name", PUBLISHED)
def test_its_values_are_the_published_ones(name: str) -> None:
    (config,) = trained(name)
    assert {path: at(config, path) for path in PUBLISHED[name]} == PUBLISHED[name]
    assert load_recipe(name).variables["model"] == MODELS.get(name, "Qwen/Qwen2.5-Math-1.5B")


def test_both_halves_of_the_comparison_on_openr1_have_one_prompt_one_seed_and_the_same_problems_aside() -> None:
    (rl,) = trained("openr1-math-grpo")
    sft = build_graph(load_recipe("openr1-math-sft"))
    assert rl["system"] == sft.nodes["sft"].config.model_dump()["system"]
    assert "Respond in the following format: <think>\n...\n</think>\n<answer>\n...\n</answer>" in rl["system"]
    assert sft.recipe.seed == build_graph(load_recipe("openr1-math-grpo")).recipe.seed == 42


@pytest.mark.parametrize(
    ("axis", "key", "values"),
    [
        ("rate=[3e-6, 1e-5, 3e-5]", "optimizer.lr", [3e-6, 1e-5, 3e-5]),
        ("advantage=[none, group_mean]", "advantage", ["none", "group_mean"]),
        ("advantage=[group_mean, group_norm]", "advantage", ["group_mean", "group_norm"]),
        ("aggregation=[sequence_mean, constant]", "aggregation", ["sequence_mean", "constant"]),
        ("passes=[1, 2]", "passes", [1, 2]),
        ("template=[r1_zero, plain]", "template", ["r1_zero", "plain"]),
    ],
)
def test_the_ablations_of_cs336_are_axes_of_one_matrix(axis: str, key: str, values: list[Any]) -> None:
    branches = trained("cs336-grpo", f"matrix.{axis}")
    assert [at(config, key) for config in branches] == values
    for config in branches:
        *path, last = key.split(".")
        inner = at(config, ".".join(path)) if path else config
        inner[last] = None
    assert all(config == branches[0] for config in branches), "they differ in nothing else"


def test_the_ablation_of_the_start_takes_the_recipes_own_sft() -> None:
    graph = build_graph(load_recipe("cs336-grpo", ["matrix.start=[Qwen/Qwen2.5-Math-1.5B, sft]"]))
    nodes = [node for node in graph.nodes.values() if node.spec.name == "rl"]
    starts = [str(node.inputs["model"]) for node in nodes]
    assert len(starts) == len(set(starts)) == 2
    assert any("sft" in start for start in starts)
