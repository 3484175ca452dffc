"""Options of a recipe: one word for several overrides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from posttrain.errors import RecipeError
from posttrain.pipeline import Recipe, parse_recipe

T = "tests.toys:"
STAGES = {"numbers": {"stage": T + "numbers", "n": 50, "word": "x"}}
SCALE = {"scale": {"default": "full", "choices": {"full": {}, "small": {"numbers.n": 5, "numbers.word": "small"}}}}


def recipe(*overrides: str, **changes: Any) -> Recipe:
    values = {"name": "r", "stages": STAGES, "options": SCALE, **changes}
    return parse_recipe(values, "r.yaml", overrides)


def test_the_default_changes_nothing_and_a_choice_its_overrides_and_the_name() -> None:
    assert (recipe().name, recipe().stages["numbers"]["n"]) == ("r", 50)
    small = recipe("scale=small")
    assert (small.name, small.stages["numbers"]["n"], small.stages["numbers"]["word"]) == ("r-small", 5, "small")


def test_an_override_stands_above_a_choice_and_a_smoke_section_may_choose() -> None:
    assert recipe("scale=small", "numbers.n=7").stages["numbers"]["n"] == 7
    assert recipe("name=mine", "scale=small").name == "mine"
    values = {"name": "r", "stages": STAGES, "options": SCALE, "smoke": {"scale": "small", "numbers.word": "s"}}
    smoke = parse_recipe(values, "r.yaml", smoke=True)
    assert (smoke.name, smoke.stages["numbers"]["n"], smoke.stages["numbers"]["word"]) == ("r-smoke", 5, "s")


@pytest.mark.parametrize(
    ("options", "overrides", "said"),
    [
        (SCALE, ["scale=smal"], r"scale is 'smal'\. Did you mean 'small'\? It may be: full, small"),
        ({"scale": {"choices": {}}}, [], "'default' is missing"),
        ({"scale": 3}, [], "must be a mapping with default and choices"),
        ({"numbers": SCALE["scale"]}, [], "'numbers' is also a stage"),
        ({"scale": {"default": "a", "choices": {"a": {"nmbers.n": 1}}}}, [], "no stage or key 'nmbers'"),
    ],
)
def test_a_wrong_option_is_refused(options: dict[str, Any], overrides: list[str], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        recipe(*overrides, options=options)


def test_the_shipped_distillation_has_a_small_scale(tmp_path: Path) -> None:
    from posttrain.pipeline import build_graph, load_recipe

    small = build_graph(load_recipe("gsm8k-distill", ["scale=small"]))
    assert small.recipe.name == "gsm8k-distill-small"
    config = small.nodes["problems"].config.model_dump()
    assert (config["limit"], config["calculator_marks"]) == ({"train": 100, "test": 100}, "keep")
