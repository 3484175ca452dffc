"""The steps of a ``steps:`` list, read: ``{filter: length, max: 4096}``, ``{select: random, budget: 1000}``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from posttrain.config import Config, parse
from posttrain.curate.base import Entry, Filter, Selector
from posttrain.curate.filters import FILTERS
from posttrain.curate.selectors import SELECTORS
from posttrain.errors import RecipeError, did_you_mean

Verb = Literal["filter", "select"]


@dataclass(frozen=True)
class Step:
    """One filter or selector with its config. label: ``2-length``, its name in the ledger; budget: of a selector."""

    verb: Verb
    name: str
    label: str
    config: Config
    budget: int | None

    @property
    def filter(self) -> Entry[Filter]:
        return FILTERS[self.name]

    @property
    def selector(self) -> Entry[Selector]:
        return SELECTORS[self.name]

    def values(self) -> dict[str, Any]:
        """What matters to the result, defaults included."""
        budget = {} if self.budget is None else {"budget": self.budget}
        return {self.verb: self.name, **budget, **self.config.fingerprint_values()}

    def __str__(self) -> str:
        what = "filter" if self.verb == "filter" else "selector"
        return f"step {self.label.partition('-')[0]}, {what} '{self.name}'"


def read_steps(steps: Sequence[Mapping[str, Any]]) -> list[Step]:
    """RecipeError for an unknown filter, selector or key, and for a selector without a budget."""
    return [_step(number, dict(values)) for number, values in enumerate(steps, 1)]


def _step(number: int, values: dict[str, Any]) -> Step:
    where = f"step {number}"
    if ("filter" in values) == ("select" in values):
        raise RecipeError(f"{where} is {values!r}: write {{filter: NAME, …}} or {{select: NAME, budget: N, …}}.")
    verb: Verb = "filter" if "filter" in values else "select"
    name = values.pop(verb)
    table: Mapping[str, Entry[Any]] = FILTERS if verb == "filter" else SELECTORS
    what = "filter" if verb == "filter" else "selector"
    if name not in table:
        raise RecipeError(
            f"{where}: unknown {what} {name!r}.{did_you_mean(str(name), table)} Known: {', '.join(sorted(table))}."
        )
    budget = None
    if verb == "select":
        budget = values.pop("budget", None)
        if not isinstance(budget, int) or isinstance(budget, bool) or budget < 1:
            raise RecipeError(
                f"{where}, selector '{name}': budget is {budget!r}; it says how many rows to keep, 1 or more."
            )
    return Step(verb, name, f"{number}-{name}", parse(table[name].config, values, f"{where}, {what} '{name}'"), budget)
