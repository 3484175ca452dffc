"""Runs a graph: stage after stage in this process, or side by side where there are several devices."""

from __future__ import annotations

from pathlib import Path

from posttrain.pipeline.graph import Graph, Node
from posttrain.pipeline.make import Made, make
from posttrain.store import Artifact
from posttrain.store.lock import locked


def run_graph(graph: Graph, run: Path, *, quiet: bool = False) -> dict[str, Made]:
    """Makes every node of `graph` below `run`."""
    made: dict[str, Made] = {}
    with locked(run):
        for node in graph.nodes.values():
            made[node.name] = _make(node, run, made, quiet)
            if not quiet:
                print(f"{node.name}: {made[node.name].outcome} {made[node.name].seconds:.1f} s", flush=True)
    return made


def _make(node: Node, run: Path, made: dict[str, Made], quiet: bool) -> Made:
    def opened(source: str | Artifact) -> Artifact:
        return made[source].artifact if isinstance(source, str) else source

    inputs = {
        name: [opened(s) for s in given] if isinstance(given, tuple) else opened(given)
        for name, given in node.inputs.items()
    }
    return make(node.spec, node.config, inputs, run / node.name, seed=node.seed, quiet=quiet, label=node.name)
