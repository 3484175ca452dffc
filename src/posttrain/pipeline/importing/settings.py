"""A foreign configuration while it is read: every key is taken or left out with a reason, none is lost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from posttrain.errors import RecipeError


@dataclass(frozen=True, slots=True)
class Unmapped:
    """A setting that has no place in the recipe, and why (or what does its work there)."""

    key: str
    value: Any
    reason: str


@dataclass(slots=True)
class Settings:
    """What is still to be read, what was left out, and what had to be assumed."""

    values: dict[str, Any]
    source: str
    unmapped: list[Unmapped] = field(default_factory=list)
    assumed: list[str] = field(default_factory=list)

    def take(self, key: str, default: Any = None) -> Any:
        """The value of a key, which then counts as read; `default` where it is absent or null."""
        value = self.values.pop(key, None)
        return default if value is None else value

    def number(self, key: str, default: float) -> float:
        """`take` of a number. RecipeError for anything else."""
        value = self.take(key, default)
        if isinstance(value, str):
            try:
                value = float(value)  # YAML reads 1e-5 as text
            except ValueError:
                value = None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise RecipeError(f"{self.source}: {key} is no number. Write one, or leave it out.")
        return value

    def whole(self, key: str, default: int) -> int:
        """`number`, which must be whole."""
        value = self.number(key, default)
        if value != int(value):
            raise RecipeError(f"{self.source}: {key} is {value}; it must be a whole number.")
        return int(value)

    def flag(self, key: str, default: bool = False) -> bool:
        """`take` of a truth value. RecipeError for anything else."""
        value = self.take(key, default)
        if not isinstance(value, bool):
            raise RecipeError(f"{self.source}: {key} is {value!r}; it must be true or false.")
        return value

    def leave(self, key: str, value: Any, reason: str) -> None:
        """Records a setting that was read and has no place."""
        self.unmapped.append(Unmapped(key, value, reason))

    def leave_all(self, reasons: Mapping[str, str]) -> None:
        """Leaves those of the keys that are there; one that is off (false, null, "no") asks for nothing."""
        for key, reason in reasons.items():
            value = self.values.pop(key, None)
            if value not in (None, False, "no", "none", [], {}):
                self.leave(key, value, reason)

    def leave_rest(self) -> None:
        """Whatever nobody has read."""
        for key, value in self.values.items():
            if value is not None:
                self.leave(key, value, "this key is not known here")
        self.values.clear()
