"""What of a graph a person asks for: --only, --from, --fresh."""

from __future__ import annotations

from dataclasses import dataclass

from posttrain.errors import RecipeError
from posttrain.pipeline.graph import Graph
from posttrain.pipeline.make import Again


@dataclass(frozen=True)
class Wishes:
    """What of a graph to make. only, start, fresh: stage names as people write them (all branches, or one)."""

    only: str | None = None
    start: str | None = None
    fresh: tuple[str, ...] = ()

    def wanted(self, graph: Graph) -> list[str]:
        """Names of the nodes to make or reuse, in order."""
        if self.only is not None and self.start is not None:
            raise RecipeError("--only and --from say different things. Give one of them.")
        if self.only is not None:
            return graph.select(self.only)
        if self.start is not None:
            return graph.after(graph.select(self.start))
        return list(graph.nodes)

    def again(self, graph: Graph) -> dict[str, Again]:
        """Stages named --fresh are made again, and what follows from them where its inputs come out different."""
        named = [name for wish in self.fresh for name in graph.select(wish)]
        idle = [name for name in named if name not in self.wanted(graph)]
        if idle:
            raise RecipeError(f"--fresh {idle[0]} asks for a stage that --only or --from leaves out. Drop one of them.")
        following: dict[str, Again] = dict.fromkeys(graph.after(named), "if inputs changed")
        always: dict[str, Again] = dict.fromkeys(named, "always")
        return following | always
