"""`random`: the baseline that every other selector has to beat."""

from __future__ import annotations

import numpy as np

from posttrain.curate.base import Decision, Rows, Tools
from posttrain.curate.selectors.choosing import SelectConfig, choose
from posttrain.curate.selectors.order import shuffled


class RandomConfig(SelectConfig):
    """Nothing beside the budget."""


def at_random(rows: Rows, budget: int, config: RandomConfig, tools: Tools, seed: int) -> Decision:
    """Every row as likely as every other; no scores."""
    return choose("random", rows, shuffled(np.arange(len(rows)), seed), budget, config, tools)
