"""Runs a graph: stage after stage in this process, or side by side in processes of their own on several devices."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from posttrain.errors import PosttrainError, RecipeError
from posttrain.pipeline.devices import Device, devices_for
from posttrain.pipeline.graph import Graph, Node
from posttrain.pipeline.make import Again, Made, Outcome, make, standing
from posttrain.pipeline.order import Order
from posttrain.pipeline.panes import Panes, Unwatched
from posttrain.pipeline.side_by_side import run_side_by_side
from posttrain.pipeline.wishes import Wishes
from posttrain.store import Artifact, Manifest
from posttrain.store.lock import locked
from posttrain.tracking import require

Say = Callable[[str], None]


@dataclass
class RunResult:
    """What a run made or reused, by node; `skipped` were not asked for."""

    run: Path
    made: dict[str, Made] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    tracking: tuple[str, ...] = ()


def run_graph(
    graph: Graph,
    run: Path,
    wishes: Wishes | None = None,
    *,
    quiet: bool = False,
    say: Say = print,
    panes: Panes | None = None,
) -> RunResult:
    """Makes what is wanted of `graph` below `run`; reuses what is finished, resumes what was interrupted.

    say: gets one line per stage. quiet: the stages themselves say nothing. panes: show what stages say that run side by
    side (None: their logs have it).
    DriftError where a stage was made from something else, LockedError if another process works in this run. An error of
    a stage carries a note that names the stage.
    """
    wishes = wishes or Wishes()
    again = wishes.again(graph)
    devices = devices_for(graph.recipe.devices)
    require(graph.recipe.tracking)
    with locked(run) as lock:
        nodes, result = begin_run(graph, run, wishes)
        if len(devices) == 1:
            for node in nodes:
                result.made[node.name] = _here(node, result, again.get(node.name, "never"), devices[0], quiet)
                say(line_of(node, result.made[node.name], graph))
        else:

            def done(node: Node, made: Made) -> None:
                result.made[node.name] = made
                say(line_of(node, made, graph))

            with panes or Unwatched(say) as watched:
                run_side_by_side(
                    nodes,
                    devices,
                    lock=lock,
                    logs=run / "logs",
                    order=lambda node: order_of(node, result),
                    again=lambda node: again.get(node.name, "never"),
                    ready=lambda node: all(name in result.made for name in node.needs),
                    done=done,
                    panes=watched,
                )
    return result


def run_node(graph: Graph, run: Path, name: str, *, again: Again = "never") -> Made:
    """Makes one node, whose inputs must be finished, while other processes may make others of the same run.

    Only the node's own folder is locked. Errors as in `run_graph`.
    """
    require(graph.recipe.tracking)
    (node,), result = begin_run(graph, run, Wishes(only=name))
    return _here(node, result, again, Device("auto", "auto", None), quiet=False)


def begin_run(graph: Graph, run: Path, wishes: Wishes) -> tuple[list[Node], RunResult]:
    """The nodes to make, in order, and a result that holds what stands before them. RecipeError where that is not
    finished."""
    wanted = wishes.wanted(graph)
    result = RunResult(run, {}, [name for name in graph.nodes if name not in wanted], graph.recipe.tracking)
    _reuse_ancestors(graph, wanted, result)
    return [graph.nodes[name] for name in wanted], result


def order_of(node: Node, result: RunResult) -> Order:
    """The order for `node`; what it reads must have been made."""

    def opened(source: str | Artifact) -> Artifact:
        return result.made[source].artifact if isinstance(source, str) else source

    inputs: dict[str, Artifact | list[Artifact]] = {
        name: [opened(s) for s in given] if isinstance(given, tuple) else opened(given)
        for name, given in node.inputs.items()
    }
    return Order(node.spec, node.config, inputs, result.run / node.name, node.seed, node.name, result.tracking)


def _here(node: Node, result: RunResult, again: Again, device: Device, quiet: bool) -> Made:
    try:
        return make(
            order_of(node, result), device=device.kind, quiet=quiet, again=again, announce=_announcer(node, quiet)
        )
    except PosttrainError as error:
        error.add_note(f"in stage '{node.name}', {result.run / node.name}")
        raise


def _announcer(node: Node, quiet: bool) -> Callable[[Outcome], None]:
    def announce(outcome: Outcome) -> None:
        if outcome != "reused" and not quiet:
            print(f"{node.name} ({node.spec.name}) {'…' if outcome == 'made' else 'continues …'}", flush=True)

    return announce


def _reuse_ancestors(graph: Graph, wanted: Collection[str], result: RunResult) -> None:
    """With --only and --from, what stands before must be finished, and made from what the recipe says."""
    needed: set[str] = set()
    for name in reversed(list(graph.nodes)):
        if name in wanted or name in needed:
            needed.update(n for n in graph.nodes[name].needs if n not in wanted)
    for name in graph.nodes:
        if name not in needed:
            continue
        order = order_of(graph.nodes[name], result)
        manifest = Manifest.read(order.directory) and standing(order.directory, order.facts())
        if manifest is None or manifest.status != "finished":
            raise RecipeError(
                f"stage '{name}' is not finished, and what was asked for needs it. Run without --only or --from first."
            )
        manifest.verify(order.directory)
        result.made[name] = Made(order.artifact, "reused", 0.0, manifest.summary)


def line_of(node: Node, made: Made, graph: Graph) -> str:
    """``student   made    12.3 s  loss 0.31  tokens 81920``."""
    width = max(len(name) for name in graph.nodes)
    parts = [f"{node.name:<{width}}", f"{made.outcome:<7}", f"{made.seconds:7.1f} s"]
    numbers = "  ".join(f"{key} {_number(value)}" for key, value in made.summary.items() if _short(value))
    aside = f"(the old one is {made.aside.name})" if made.aside else ""
    return "  ".join(filter(None, [*parts, numbers, aside]))


def _short(value: Any) -> bool:
    return isinstance(value, int | float | str)  # tables of numbers stay in the manifest


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def reports(result: RunResult) -> Mapping[str, Path]:
    """The pages to open: report.html of every report that this run made or reused."""
    pages = {name: made.artifact.path / "report.html" for name, made in result.made.items()}
    return {name: page for name, page in pages.items() if page.exists()}
