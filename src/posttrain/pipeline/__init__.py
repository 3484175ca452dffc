"""From recipe to artifacts: the graph, its forecast, and the executor. Knows no torch."""

from posttrain.pipeline.executor import RunResult, reports, run_graph, run_node
from posttrain.pipeline.graph import Graph, Node, build_graph
from posttrain.pipeline.make import Made, run_stage
from posttrain.pipeline.plan import Planned, plan_graph
from posttrain.pipeline.recipe import Recipe, find_recipe, load_recipe, parse_recipe, shipped_recipes
from posttrain.pipeline.wishes import Wishes

__all__ = [
    "Graph",
    "Made",
    "Node",
    "Planned",
    "Recipe",
    "RunResult",
    "Wishes",
    "build_graph",
    "find_recipe",
    "load_recipe",
    "parse_recipe",
    "plan_graph",
    "reports",
    "run_graph",
    "run_node",
    "run_stage",
    "shipped_recipes",
]
