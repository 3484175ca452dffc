"""Would it fit: the same forecasts on GPUs that are not here."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tools.fit_table import METHODS, MODELS, PAGE, page, told

from posttrain.errors import RecipeError
from posttrain.models.cost import on_gpu, training_seconds
from posttrain.models.gpus import gpu_table, planned_gpu, planned_on, read_wish
from posttrain.pipeline import Wishes, build_graph, load_recipe
from posttrain.pipeline.fitting import describe_fits, fit, spread

TABLE = gpu_table()
SMALL, CARD, LARGE, LARGEST = TABLE.gpus


def memory(method: str, model: str, count: int = 1) -> float:
    with planned_on(CARD):
        found = told(method, MODELS[model], count)["memory_bytes"]
    assert found is not None
    return found


def test_the_models_have_the_weights_that_their_cards_say() -> None:
    counted = [shape.parameters for shape in MODELS.values()]
    assert counted == [494_032_768, 1_543_714_304, 3_085_938_688, 8_030_261_248]


def test_full_training_needs_sixteen_bytes_a_weight_and_adapters_a_fraction() -> None:
    for name, shape in MODELS.items():
        assert memory("SFT, full", name) > 16 * shape.parameters
        assert memory("SFT, QLoRA", name) < memory("SFT, LoRA", name) < memory("SFT, full", name)
        assert memory("GRPO, full", name) > memory("SFT, full", name)


def test_sharding_makes_the_memory_of_one_gpu_smaller() -> None:
    assert memory("SFT, full", "Llama-3.1-8B", 4) < memory("SFT, full", "Llama-3.1-8B") / 3


def test_time_goes_with_the_speed_of_the_gpu_that_is_planned_for() -> None:
    shape = MODELS["Qwen2.5-1.5B"]
    tokens = 1e6
    with planned_on(LARGE):
        assert on_gpu()
        seconds = training_seconds(shape, tokens, "bfloat16")
    assert seconds == pytest.approx(6 * shape.working * tokens / (9.89e14 / 3))
    assert planned_gpu() is None


def test_quantised_weights_are_copied_and_others_cut_in_parts(tmp_path: Path) -> None:
    traces = "  traces: {stage: traces, problems: problems, teacher: reference}\n"
    student = "  sft: {stage: sft, model: base, traces: traces, epochs: 1, lora: {rank: 8}, quantize: nf4}\n"
    (tmp_path / "recipe.yaml").write_text(RECIPE + traces + student)
    graph = spread(build_graph(load_recipe(str(tmp_path / "recipe.yaml"), ())), 4)
    launched = {name: getattr(node.config, "launch", None) for name, node in graph.nodes.items()}
    assert (launched["base"].processes, launched["base"].strategy) == (4, "fsdp2")
    assert (launched["sft"].processes, launched["sft"].strategy) == (4, "ddp")
    assert launched["traces"] is None


@pytest.mark.parametrize(("text", "count", "size"), [("24", 1, 24), ("4x80", 4, 80), ("8 × 141GB", 8, 141)])
def test_gpus_are_named_by_their_memory(text: str, count: int, size: int) -> None:
    assert read_wish(text, TABLE) == (count, next(g for g in TABLE.gpus if g.memory_gb == size))


@pytest.mark.parametrize("text", ["", "0x24", "23", "x24", "many", "-24"])
def test_an_unknown_gpu_is_said_with_the_known_ones(text: str) -> None:
    with pytest.raises(RecipeError, match="Known: 8, 24, 80, 141; others by --prices FILE"):
        read_wish(text, TABLE)


RECIPE = """
name: plan
stages:
  problems: {stage: data, dataset: synthetic, train: 1000, test: 100}
  text: {stage: data, dataset: synthetic-text, train: 1000}
  base: {stage: pretrain, corpus: text, steps: 100, model: {hidden: 2048, layers: 40, heads: 16, feed_forward: 8192}}
  scores: {stage: eval, models: [base], problems: problems}
"""


def test_a_recipe_is_told_where_it_fits_and_what_it_costs_there(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    graph = build_graph(load_recipe(str(tmp_path / "recipe.yaml"), ()))
    fits = [fit(graph, tmp_path / "runs", Wishes(), *read_wish(w, TABLE)) for w in ("8", "80", "4x80")]
    assert [one.fits for one in fits] == [False, True, True]
    assert fits[0].largest is not None
    assert fits[0].largest[0] == "base"
    assert fits[1].seconds is not None
    assert fits[1].dollars == pytest.approx(2.5 * fits[1].seconds / 3600)
    assert fits[2].largest is not None
    assert fits[1].largest is not None
    assert fits[2].largest[1] < fits[1].largest[1]
    said = describe_fits(fits, "today")
    assert "NO" in said
    assert "4 × H100" in said
    assert "prices are of today" in said


def test_the_command_takes_a_price_table_of_ones_own(
    tmp_path: Path, posttrain: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    own = "{memory_gb: 48, name: L40S, peak: {float32: 9.1e13, bfloat16: 3.6e14}, price: 100}"
    (tmp_path / "mine.yaml").write_text(f"as_of: today\ngpus:\n  - {own}\n")
    done = posttrain("plan", "recipe.yaml", "--on", "2x48", "--prices", "mine.yaml", "--json")
    assert done.returncode == 0, done.stderr
    (one,) = json.loads(done.stdout)["fits"]
    assert (one["gpus"], one["gpu"]) == (2, "L40S")
    assert one["dollars"] == pytest.approx(200 * one["seconds"] / 3600)


def test_the_table_in_the_documents_is_what_is_forecast_today() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert page(text) == text, "python tools/fit_table.py --write makes it anew"
    assert text.count("\n| ") == 1 + len(MODELS) * len(METHODS)
