"""Where a recipe would fit: the same plan on GPUs that one hasn't got."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from posttrain.models.gpus import Gpu, planned_on
from posttrain.pipeline.graph import Graph, Node
from posttrain.pipeline.plan import cost_in_words, plan_graph, table_in_words, total
from posttrain.pipeline.wishes import Wishes

SHARDED = "fsdp2"  # how a model is trained on several GPUs where its recipe doesn't say


@dataclass(frozen=True)
class Fit:
    """A run on `count` GPUs of one kind, everything made anew that isn't there yet.

    largest: the stage that needs most memory, with the bytes of one GPU; None where nothing is known.
    unknown: stages whose memory can't be told. seconds, dollars: of the whole run, None where unknown; dollars are the
    GPUs' rent and what stages pay.
    """

    count: int
    gpu: Gpu
    largest: tuple[str, float] | None
    unknown: tuple[str, ...]
    seconds: float | None
    dollars: float | None

    @property
    def fits(self) -> bool | None:
        """Whether every stage fits; None where none is too large and some are unknown."""
        if self.largest is not None and self.largest[1] > self.gpu.usable:
            return False
        return None if self.unknown else True

    def as_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "gpus": self.count,
            "gpu": self.gpu.name,
            "memory_gb": self.gpu.memory_gb,
            "fits": self.fits,
            "largest_stage": self.largest[0] if self.largest else None,
            "memory_bytes": self.largest[1] if self.largest else None,
            "unknown": list(self.unknown),
            "seconds": self.seconds,
            "dollars": self.dollars,
        }


def fit(graph: Graph, run: Path, wishes: Wishes, count: int, gpu: Gpu) -> Fit:
    """The plan of `graph` on `count` of `gpu`. Stages that can be launched in several processes get one per GPU."""
    with planned_on(gpu):
        planned = plan_graph(spread(graph, count), run, wishes)
    known = [(p.node.name, p.forecast["memory_bytes"]) for p in planned]
    sizes = [(name, size) for name, size in known if size is not None]
    seconds, paid = total(planned, "seconds"), total(planned, "dollars")
    rent = None if seconds is None else count * gpu.price * seconds / 3600
    return Fit(
        count=count,
        gpu=gpu,
        largest=max(sizes, key=lambda pair: pair[1], default=None),
        unknown=tuple(name for name, size in known if size is None),
        seconds=seconds,
        dollars=None if rent is None or paid is None else rent + paid,
    )


def spread(graph: Graph, count: int) -> Graph:
    """The graph with `count` processes for every stage that trains."""
    if count == 1:
        return graph
    return dataclasses.replace(graph, nodes={name: _spread(node, count) for name, node in graph.nodes.items()})


def _spread(node: Node, count: int) -> Node:
    launch = getattr(node.config, "launch", None)
    if launch is None or launch.world > 1:
        return node
    quantised = getattr(node.config, "quantize", None) is not None
    more = {"processes": count, "strategy": "ddp" if quantised else SHARDED}
    try:
        config = type(node.config).model_validate({**node.config.model_dump(exclude_unset=True), "launch": more})
    except ValidationError:  # a stage that can't be launched so
        return node
    return dataclasses.replace(node, config=config)


def describe_fits(fits: Sequence[Fit], as_of: str) -> str:
    """For people."""
    rows: list[tuple[str, ...]] = [("GPUs", "fits", "largest stage", "memory of one", "of", "time", "money")]
    for one in fits:
        name, size = one.largest or ("-", None)
        rows.append(
            (
                f"{one.count} × {one.gpu.name}",
                {True: "yes", False: "NO", None: "unknown"}[one.fits],
                name,
                cost_in_words("memory_bytes", size),
                f"{one.gpu.memory_gb} GB",
                cost_in_words("seconds", one.seconds),
                cost_in_words("dollars", one.dollars),
            )
        )
    unknown = sorted({name for one in fits for name in one.unknown})
    notes = [f"Speeds are assumed, a third of the peak; prices are of {as_of}. Bring your own: --prices FILE."]
    if unknown:
        notes.append(f"Nothing is known before they are made of: {', '.join(unknown)}.")
    return "\n".join([table_in_words(rows), *notes])
