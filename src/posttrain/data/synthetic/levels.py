"""What makes a level hard: how many steps, how large the numbers, which operations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Operation = Literal["gain", "loss", "times", "part", "share", "groups"]


@dataclass(frozen=True, slots=True)
class Level:
    """steps: how many arithmetic operations a problem may take. below: every amount in it is smaller than this.

    operand: the largest number added or taken away. factor: the largest number multiplied or divided by.
    """

    steps: tuple[int, ...]
    below: int
    operand: int
    factor: int
    operations: frozenset[Operation]


LEVELS: dict[int, Level] = {
    1: Level((1,), 20, 9, 2, frozenset({"gain", "loss"})),
    2: Level((1, 2), 50, 20, 3, frozenset({"gain", "loss"})),
    3: Level((2, 3), 100, 50, 5, frozenset({"gain", "loss", "times", "groups"})),
    4: Level((2, 3, 4), 500, 200, 9, frozenset({"gain", "loss", "times", "groups", "share"})),
    5: Level((3, 4), 2000, 900, 12, frozenset({"gain", "loss", "times", "groups", "share", "part"})),
}
