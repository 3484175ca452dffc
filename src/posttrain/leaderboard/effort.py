"""What a model cost to make: seconds and dollars of everything on its way, and its learning curve over seconds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from posttrain.store.lineage import Origin, lineage
from posttrain.tracking import Metrics

PAID = ("dollars", "cost", "spent")  # what stages that pay call it in their summary
TRAINING = "checkpoint"  # the kind of what training makes


@dataclass(frozen=True)
class Effort:
    """seconds: of all stages that led to the model, None where none is known. curve: (seconds of training, validation
    accuracy), each stage starting where the one that it continues ended."""

    seconds: float | None = None
    dollars: float | None = None
    hardware: str | None = None
    curve: tuple[tuple[float, float], ...] = ()

    def seconds_to(self, target: float | None) -> float | None:
        """When the curve first reached `target`; None where it never did, or there is none."""
        if target is None:
            return None
        return next((seconds for seconds, accuracy in self.curve if accuracy >= target), None)


def effort_of(evaluation: Path, model: str, step: int | None = None) -> Effort:
    """Of one model of an evaluation of ours, from the manifests behind it. A model from outside cost nothing known.

    step: of a checkpoint on the way (rl@100 says it in its name, one of a sweep in its entry): what was spent until it.
    """
    if not (evaluation / "manifest.json").is_file():
        return Effort()
    root = lineage(evaluation)
    name, _, said = model.partition("@")
    known = [o for o in root.inputs if o.manifest is not None]
    start = next((o for o in known if o.name in (model, name)), None)
    if start is None and step == 0 and (start := next((o for o in known if o.role == "base"), None)) is not None:
        step = None  # what the sweep calls step 0 is a whole model
    if start is None and step is not None:
        start = next((o for o in known if o.role == "run"), None)
    if start is None:
        return Effort()
    stages = {o.path: o for o in _before(start)}
    manifests = [o.manifest for o in stages.values() if o.manifest is not None]
    step = int(said) if said.isdecimal() else step
    cut = _seconds_at(start, step) if step is not None else None
    total = sum(m.seconds or 0.0 for m in manifests)
    if cut is not None and start.manifest is not None:
        total += cut - (start.manifest.seconds or 0.0)
    paid = [float(m.summary[k]) for m in manifests for k in PAID if _is_number(m.summary.get(k))]
    hardware = start.manifest.hardware if start.manifest else {}
    curve = tuple(_curve(start, stages)) if cut is None else tuple(p for p in _curve(start, stages) if p[0] <= total)
    return Effort(round(total, 3), sum(paid) if paid else None, _machine(hardware), curve)


def _before(origin: Origin) -> Iterator[Origin]:
    for given in origin.inputs:
        yield from _before(given)
    yield origin


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _curve(origin: Origin, stages: Mapping[str, Origin]) -> Iterator[tuple[float, float]]:
    """Along the chain of checkpoints that led here, the oldest first."""
    began = 0.0
    chain = [o for o in _chain(origin) if o.path in stages]
    for o in chain:
        rows = Metrics(Path(o.path) / "metrics.jsonl").read()
        at = {0: 0.0} | {r["step"]: float(r["seconds"]) for r in rows if _is_number(r.get("seconds"))}
        for row in rows:
            if _is_number(row.get("val_accuracy")) and row["step"] in at:
                yield began + at[row["step"]], float(row["val_accuracy"])
        began += max(at.values())


def _chain(origin: Origin) -> list[Origin]:
    """The training stages from the first to `origin`, each continued by the next."""
    earlier = [o for o in origin.inputs if o.manifest is not None and o.manifest.kind == TRAINING]
    return [*(_chain(earlier[0]) if earlier else []), origin]


def _seconds_at(origin: Origin, step: int) -> float | None:
    rows = Metrics(Path(origin.path) / "metrics.jsonl").read()
    known = [float(r["seconds"]) for r in rows if r["step"] <= step and _is_number(r.get("seconds"))]
    return max(known) if known else None


def _machine(facts: Mapping[str, Any]) -> str | None:
    gpus = facts.get("gpus")
    if isinstance(gpus, list) and gpus:
        return ", ".join(f"{gpus.count(g)} × {g}" for g in dict.fromkeys(gpus))
    cores = facts.get("cores")
    return f"{facts.get('cpu') or 'CPU'}, {cores} cores" if cores else None
