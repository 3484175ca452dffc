"""What a run would do, and a forecast of what it would cost, told without doing anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from posttrain.forecast import Expected
from posttrain.pipeline.graph import Graph, Node
from posttrain.pipeline.order import Order
from posttrain.pipeline.wishes import Wishes
from posttrain.store import Artifact, Manifest, fingerprint
from posttrain.store.drift import changes

Status = Literal["reuse", "resume", "make", "after", "drift", "skip"]
COSTS = ("seconds", "memory_bytes", "disk_bytes", "dollars")


@dataclass(frozen=True)
class Planned:
    """One stage of a plan.

    status: reuse, resume, make; after (finished before, but its inputs are made again first: reused if they come out
    the same); drift (the run would stop here, `changes` says why); skip (not asked for).
    forecast: seconds, memory_bytes, disk_bytes, dollars; None where unknown, 0 for what is reused.
    """

    node: Node
    status: Status
    changes: tuple[str, ...]
    forecast: Mapping[str, float | None]


def plan_graph(graph: Graph, run: Path, wishes: Wishes | None = None) -> list[Planned]:
    """The plan of every node, in order. Reads manifests and hashes no artifact."""
    wishes = wishes or Wishes()
    wanted, again = wishes.wanted(graph), wishes.again(graph)
    planned: dict[str, Planned] = {}
    makes: dict[Path, Mapping[str, Any]] = {}
    for node in graph.nodes.values():
        order = Order(node.spec, node.config, planned_inputs(node, graph, run), run / node.name, node.seed, node.name)
        if node.name not in wanted:
            status, lines = _of_unwanted(order)
        elif again.get(node.name) == "always":
            status, lines = "make", []
        else:
            open_inputs = [n for n in node.needs if planned[n].status in ("make", "resume", "after")]
            status, lines = _status(order, bool(open_inputs))
        forecast, makes[order.directory] = _forecast(order, makes)
        if status in ("reuse", "skip"):
            forecast = dict.fromkeys(COSTS, 0.0)
        planned[node.name] = Planned(node, status, tuple(lines), forecast)
    return list(planned.values())


def planned_inputs(node: Node, graph: Graph, run: Path) -> dict[str, Artifact | list[Artifact]]:
    """Handles on a node's inputs; those that are not made yet point to where they will be."""

    def handle(source: str | Artifact) -> Artifact:
        if isinstance(source, Artifact):
            return source
        return graph.nodes[source].spec.output(run / source, name=source)

    return {
        name: [handle(s) for s in given] if isinstance(given, tuple) else handle(given)
        for name, given in node.inputs.items()
    }


def _status(order: Order, waits: bool) -> tuple[Status, list[str]]:
    manifest = Manifest.read(order.directory)
    if manifest is None:
        return "make", []
    if waits:  # its inputs have no digests yet, or will have others
        own = {key: value for key, value in manifest.facts.items() if key != "inputs"}
        lines = changes(own, order.own_facts())
        return ("drift", lines) if lines else ("after", [])
    facts = order.facts()
    if manifest.fingerprint != fingerprint(facts):
        return "drift", changes(manifest.facts, facts)
    return ("reuse" if manifest.status == "finished" else "resume"), []


def _of_unwanted(order: Order) -> tuple[Status, list[str]]:
    manifest = Manifest.read(order.directory)
    return ("reuse" if manifest is not None and manifest.status == "finished" else "skip"), []


def _forecast(
    order: Order, makes: Mapping[Path, Mapping[str, Any]]
) -> tuple[dict[str, float | None], Mapping[str, Any]]:
    """The costs of an order, and what is known of the artifact that it makes. `makes`: the same of earlier ones."""
    if order.spec.forecast is None:
        return dict.fromkeys(COSTS), {}

    def expected(artifact: Artifact) -> Expected:
        if artifact.path in makes:
            return Expected(artifact, makes[artifact.path])
        manifest = artifact.manifest()
        return Expected(artifact, manifest.summary if manifest is not None else {})

    inputs = {
        name: [expected(a) for a in given] if isinstance(given, list) else expected(given)
        for name, given in order.inputs.items()
    }
    told = dict(order.spec.forecast(order.config, inputs))
    facts: Mapping[str, Any] = told.pop("makes", {})
    unknown = [key for key in told if key not in COSTS]
    assert not unknown, f"the forecast of stage {order.spec.name} speaks of {unknown}; known are {COSTS}"
    return {key: told.get(key) for key in COSTS}, facts


def describe(plan: list[Planned], run: Path) -> str:
    """The plan as a table for people."""
    words: dict[Status, str] = {
        "reuse": "reused",
        "resume": "resumed",
        "make": "new",
        "after": "checked when its inputs stand",
        "drift": "CHANGED",
        "skip": "not asked for",
    }
    rows: list[tuple[str, ...]] = [("stage", "kind", "from", "", "time", "memory", "disk", "money")]
    for one in plan:
        cost = one.forecast
        rows.append(
            (
                one.node.name,
                one.node.spec.name,
                ", ".join(_source(s) for s in one.node.sources()) or "-",
                words[one.status],
                *(("-",) * 4 if one.status in ("reuse", "skip") else tuple(cost_in_words(k, cost[k]) for k in COSTS)),
            )
        )
    totals = {key: total(plan, key) for key in COSTS}
    rows.append(("in all", "", "", "", *(cost_in_words(key, totals[key]) for key in COSTS)))
    lines = [table_in_words(rows)]
    for one in plan:
        if one.status == "drift":
            lines.append(f"\n{one.node.name} was made from something else; a run would stop there:")
            lines += [f"    {line}" for line in one.changes]
            lines.append(f"  --fresh {one.node.name} makes it again and keeps the old one; or use another name=")
    return "\n".join([f"{run}", *lines])


def table_in_words(rows: list[tuple[str, ...]]) -> str:
    """Columns of equal width."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def _source(source: str | Artifact) -> str:
    return source if isinstance(source, str) else str(source.path)


def total(plan: list[Planned], key: str) -> float | None:
    """The sum (the largest, for memory); None as soon as one part is unknown."""
    values = [one.forecast[key] for one in plan]
    if any(v is None for v in values):
        return None
    known = [v for v in values if v is not None]
    return max(known, default=0.0) if key == "memory_bytes" else sum(known)


def cost_in_words(key: str, value: float | None) -> str:
    """A forecast for people: "3.2 h", "$0.40", "12.3 GB", "unknown"."""
    if value is None:
        return "unknown"
    if key == "seconds":
        return _duration(value)
    if key == "dollars":
        return f"${value:.2f}"
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.0f} B"


def _duration(seconds: float) -> str:
    if seconds >= 5400:
        return f"{seconds / 3600:.1f} h"
    if seconds >= 90:
        return f"{seconds / 60:.0f} min"
    return f"{seconds:.0f} s"


def as_dict(one: Planned) -> dict[str, Any]:
    """A planned stage as JSON-able values."""
    return {
        "name": one.node.name,
        "stage": one.node.spec.name,
        "from": [_source(s) for s in one.node.sources()],
        "status": one.status,
        "changes": list(one.changes),
        "seed": one.node.seed,
        "config": one.node.config.model_dump(mode="json"),
        "forecast": dict(one.forecast),
    }
