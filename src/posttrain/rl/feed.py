"""Batches for the learner, in order: from the engine, or from the journal where a resumed run has them already.

With `staleness: n` sampling is n batches ahead of learning: batch s + n is sampled with the weights after s − 1 steps.
An engine outside of this process samples beside the learning; the native one, which reads the learner's own weights,
samples before it. What is sampled with which weights is the same.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from posttrain.errors import TrainingError
from posttrain.records import Sample
from posttrain.rl.journal import Journal
from posttrain.rl.rollouts import Batch, Collector, batch_of
from posttrain.training.distributed import Ranks

Seconds = dict[str, float]


@dataclass(slots=True)
class Feed:
    """`steps`: of the run; `beside`: the engine can sample while the learner learns."""

    collector: Collector
    journal: Journal
    steps: int
    staleness: int = 0
    beside: bool = False
    ranks: Ranks = field(default_factory=Ranks)
    drawn: dict[str, Any] = field(default_factory=dict)  # the drawer's state after the last whole batch
    _ready: deque[tuple[list[Sample], Seconds]] = field(default_factory=deque)
    _last: int = 0  # number of the newest batch, from 1
    _flying: Future[tuple[list[Sample], Seconds]] | None = None

    def resume(self, step: int, drawn: dict[str, Any] | None) -> None:
        """`step` steps are learned: what was sampled ahead of them comes from the journal."""
        if drawn:
            self.collector.drawer.restore(drawn)
        self.drawn = self.collector.drawer.state()
        self._last = step
        while step and self._last < min(step + self.staleness, self.steps):
            found = self.journal.read(self._last + 1)
            if found is None:
                break  # was not written: its weights are those of now
            self._last += 1
            self._ready.append((found[0], {}))

    def next(self, step: int) -> Batch:
        """The batch of optimizer step `step` (from 0). Raises what the engine and the reward function raise."""
        ahead = min(step + 1 + self.staleness, self.steps)
        while self._last < (max(step + 1, ahead - 1) if self.beside else ahead):
            self._ready.append(self._make(self._last + 1))
        if self.beside and self._last < ahead:
            with_thread = ThreadPoolExecutor(1, thread_name_prefix="sampling")
            self._flying = with_thread.submit(self._make, self._last + 1)
            with_thread.shutdown(wait=False)
        samples, seconds = self._ready.popleft()
        batch = batch_of(samples)
        self.ranks.wait()  # for the others: it is written
        batch.metrics.update({f"seconds_{name}": value for name, value in seconds.items()})
        return batch

    def finish(self) -> None:
        """Waits for what was sampled beside; the engine's weights may change after this."""
        if self._flying is not None:
            flying, self._flying = self._flying, None
            self._ready.append(flying.result())

    def _make(self, number: int) -> tuple[list[Sample], Seconds]:
        found = self.journal.read(number)
        if found is not None:
            samples, facts = found
            self.collector.drawer.restore(facts["drawer"])
            seconds: Seconds = {"sampling": 0.0, "grading": 0.0}
        else:
            samples = self.collector.collect(number)
            seconds = dict(self.collector.seconds)
            self.journal.write(number, samples, {"drawer": self.collector.drawer.state()})
        self.drawn, self._last = self.collector.drawer.state(), number
        return samples, seconds


@dataclass(frozen=True, slots=True)
class Copies:
    """What the other ranks learn from: the batches that the first one has written."""

    journal: Journal
    ranks: Ranks

    def resume(self, step: int, drawn: dict[str, Any] | None) -> None:
        """The first rank's state is the run's."""

    @property
    def drawn(self) -> dict[str, Any]:
        return {}

    def next(self, step: int) -> Batch:
        """The batch of optimizer step `step` (from 0), as soon as it stands."""
        self.ranks.wait()
        found = self.journal.read(step + 1)
        if found is None:
            raise TrainingError(
                f"the rollouts of step {step + 1} are not below {self.journal.state}, where the first rank wrote them. "
                "All ranks must see the stage's folder: use a shared file system."
            )
        return batch_of(found[0])

    def finish(self) -> None:
        """Nothing is sampled here."""
