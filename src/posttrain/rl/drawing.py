"""Which problems come next: epochs without repetition, by difficulty, by a curriculum of levels.

Every draw is a function of (seed, state), and the state is a few numbers that a resume restores.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np

from posttrain.errors import DataError
from posttrain.records import Problem, Sample
from posttrain.rl.config import RLConfig
from posttrain.seeding import derive
from posttrain.training.batches import epoch_order

FORGET = 0.5  # share of a problem's earlier rollouts that still counts when new ones come: the policy moves on
FLOOR = 0.05  # weight of a problem that is always, or never, solved: it is asked again now and then


class Drawer:
    """Draws problems without repetition within a step and, drawn uniformly, within an epoch."""

    def __init__(self, config: RLConfig, problems: Sequence[Problem], seed: int) -> None:
        self._config, self._problems, self._seed = config, problems, seed
        self._number = {p.id: i for i, p in enumerate(problems)}
        self._position = 0  # problems drawn so far of the present stage of the curriculum
        self._stage = -1
        self._right = np.zeros(len(problems))
        self._asked = np.zeros(len(problems))
        self._orders: dict[int, list[int]] = {}  # of the present stage: epoch → order
        self._pool: list[int] = []
        self._levels = sorted({p.level for p in problems if p.level is not None})
        if config.curriculum and len(self._levels) < 2:
            raise DataError(
                f"curriculum {config.curriculum:g} brings in the problems' levels one by one, and these problems have "
                f"{len(self._levels)}. Take data with levels, or leave curriculum out."
            )

    def draw(self, count: int, step: int, without: Collection[str] = ()) -> list[Problem]:
        """At most `count` problems for optimizer step `step` (from 0), none of them in `without`, none twice."""
        self._enter(self._stage_of(step))
        if self._config.draw == "difficulty":
            chosen = self._nearest_to_half(count, step, without)
        else:
            chosen = self._next(count)
        found = [self._problems[i] for i in dict.fromkeys(chosen)]
        return [p for p in found if p.id not in without]

    def learn(self, samples: Iterable[Sample]) -> None:
        """Counts what was right: the running pass rates."""
        fresh: dict[int, list[bool]] = {}
        for s in samples:
            if s.verdict is not None and s.verdict.correct is not None:
                fresh.setdefault(self._number[s.problem_id], []).append(s.verdict.correct)
        for i, right in fresh.items():
            self._right[i] = FORGET * self._right[i] + sum(right)
            self._asked[i] = FORGET * self._asked[i] + len(right)

    def state(self) -> dict[str, Any]:
        """JSON-able; pass rates only where they decide something."""
        seen: list[int] = np.flatnonzero(self._asked).tolist() if self._config.draw == "difficulty" else []
        rates = {str(i): [float(self._right[i]), float(self._asked[i])] for i in seen}
        return {"position": self._position, "stage": self._stage, "rates": rates}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a `state`."""
        self._enter(int(state["stage"]))
        self._position = int(state["position"])
        self._right[:], self._asked[:] = 0, 0
        for i, (right, asked) in state["rates"].items():
            self._right[int(i)], self._asked[int(i)] = right, asked

    def _stage_of(self, step: int) -> int:
        """How many levels, less one, are in at this step; 0 where there is no curriculum."""
        if not self._config.curriculum:
            return 0
        share = step / (self._config.curriculum * self._config.steps)
        return min(int(share * len(self._levels)), len(self._levels) - 1)

    def _enter(self, stage: int) -> None:
        if stage == self._stage or stage < 0:
            return
        self._stage, self._position, self._orders = stage, 0, {}
        allowed = set(self._levels[: stage + 1]) if self._config.curriculum else None
        # A problem without a level is of no stage in particular: it is in from the start.
        self._pool = [
            i for i, p in enumerate(self._problems) if allowed is None or p.level is None or p.level in allowed
        ]

    def _next(self, count: int) -> list[int]:
        """The next of the epochs, running across their borders."""
        seed = derive(self._seed, "level", self._stage) if self._config.curriculum else self._seed
        chosen = []
        for position in range(self._position, self._position + count):
            epoch, offset = divmod(position, len(self._pool))
            if epoch not in self._orders:
                self._orders = {epoch: epoch_order(len(self._pool), seed, epoch)}
            chosen.append(self._pool[self._orders[epoch][offset]])
        self._position += count
        return chosen

    def _nearest_to_half(self, count: int, step: int, without: Collection[str]) -> list[int]:
        """Weighted draw without replacement; the weight 4p(1 − p) of an unseen problem is 1, its p being 1/2."""
        pool = np.asarray([i for i in self._pool if self._problems[i].id not in without], dtype=np.int64)
        rate = (self._right[pool] + 1) / (self._asked[pool] + 2)
        noise = np.random.Generator(np.random.Philox(derive(self._seed, "draw", step, self._position)))
        self._position += count
        # The largest log(u)/w of Efraimidis and Spirakis (2006) are such a draw.
        keys = np.log(noise.random(len(pool))) / (4 * rate * (1 - rate) + FLOOR)
        return [int(i) for i in pool[np.argsort(-keys, kind="stable")[:count]]]
