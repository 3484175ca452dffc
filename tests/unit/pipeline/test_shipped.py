"""Every recipe that ships can be planned, whole and as smoke, and says what it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from posttrain.cli.recipes import head_comment
from posttrain.pipeline import build_graph, load_recipe, plan_graph, shipped_recipes
from posttrain.pipeline.plan import describe

RECIPES = shipped_recipes()


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("smoke", [False, True])
def test_a_recipe_that_ships_can_be_planned(name: str, smoke: bool, tmp_path: Path) -> None:
    graph = build_graph(load_recipe(name, smoke=smoke))
    assert graph.recipe.name == (f"{name}-smoke" if smoke else name), "a recipe's name is its file's"
    plan = plan_graph(graph, tmp_path / graph.recipe.name)
    assert {one.status for one in plan} == {"make"}
    assert "in all" in describe(plan, tmp_path)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_that_ships_says_what_to_expect(name: str) -> None:
    assert head_comment(RECIPES[name])


@pytest.mark.parametrize("smoke", [False, True])
def test_the_example_of_the_documentation_can_be_planned(smoke: bool, tmp_path: Path) -> None:
    text = (Path(__file__).resolve().parents[3] / "docs" / "recipes.md").read_text(encoding="utf-8")
    (tmp_path / "recipe.yaml").write_text(text.split("```yaml\n")[1].split("```")[0])
    graph = build_graph(load_recipe(tmp_path / "recipe.yaml", smoke=smoke))
    assert list(graph.nodes) == [
        "problems",
        "traces--reference",
        "traces--flawed",
        "student--reference",
        "student--flawed",
        "scores",
        "report",
    ]
