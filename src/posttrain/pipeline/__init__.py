"""From recipe to artifacts: the graph, its forecast, and the executor. Knows no torch."""

from posttrain.pipeline.executor import run_graph
from posttrain.pipeline.graph import Graph, Node, build_graph
from posttrain.pipeline.make import Made, run_stage
from posttrain.pipeline.recipe import Recipe, load_recipe, parse_recipe, shipped_recipes

__all__ = [
    "Graph",
    "Made",
    "Node",
    "Recipe",
    "build_graph",
    "load_recipe",
    "parse_recipe",
    "run_graph",
    "run_stage",
    "shipped_recipes",
]
