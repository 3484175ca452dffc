"""What everything behind the scores cost: time and money, stage by stage."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from posttrain.report.lineage import Made

MONEY = ("dollars", "cost", "spent")  # what stages that pay call it in their summary


@dataclass(frozen=True)
class StageCost:
    """One stage. seconds: of the attempt that finished it; None where it was not made here.

    dollars: what it paid to others; None where it doesn't say. machine: dollars of rent for its seconds.
    """

    name: str
    stage: str
    seconds: float | None
    attempts: int
    dollars: float | None
    machine: float | None
    hardware: str


@dataclass(frozen=True)
class Costs:
    """price: of an hour of the machine in dollars, None where the report was not told."""

    stages: tuple[StageCost, ...]
    price: float | None

    @property
    def seconds(self) -> float:
        return sum(s.seconds or 0.0 for s in self.stages)

    @property
    def paid(self) -> float | None:
        """What stages paid to others; None where none says."""
        return _sum(s.dollars for s in self.stages)

    @property
    def rent(self) -> float | None:
        """Of the machine; None where its price is not known."""
        return _sum(s.machine for s in self.stages)

    @property
    def again(self) -> tuple[str, ...]:
        """Stages that took several attempts: the time of the earlier ones is not known."""
        return tuple(s.name for s in self.stages if s.attempts > 1)


def _sum(values: Iterable[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return sum(known) if known else None


def costs(made: Sequence[Made], price: float | None = None) -> Costs:
    """Of every artifact behind the scores. price: dollars per hour of the machine."""
    return Costs(tuple(_cost(m, price) for m in made if m.manifest is not None), price)


def _cost(m: Made, price: float | None) -> StageCost:
    manifest = m.manifest
    assert manifest is not None
    paid = next((manifest.summary[k] for k in MONEY if isinstance(manifest.summary.get(k), int | float)), None)
    seconds = manifest.seconds
    return StageCost(
        name=m.name,
        stage=m.stage,
        seconds=seconds,
        attempts=manifest.attempts,
        dollars=None if paid is None else float(paid),
        machine=None if price is None or seconds is None else price * seconds / 3600,
        hardware=_hardware(manifest.hardware),
    )


def _hardware(facts: dict[str, object]) -> str:
    """ "2 × NVIDIA H100", or the processor with its cores."""
    gpus = facts.get("gpus")
    if isinstance(gpus, list) and gpus:
        names = [str(g) for g in gpus]
        return ", ".join(f"{names.count(n)} × {n}" for n in dict.fromkeys(names))
    cores = facts.get("cores") or facts.get("cpus")
    return f"{facts.get('cpu') or 'CPU'}, {cores} cores" if cores else ""
