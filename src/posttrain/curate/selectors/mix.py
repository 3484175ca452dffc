"""`mix`: several data sets in given proportions, and long beside short traces."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from posttrain.curate.base import Decision, Rows, Tools
from posttrain.curate.selectors.choosing import SelectConfig, choose, tokens_ready
from posttrain.curate.selectors.groups import group_names, numbered, shares
from posttrain.curate.selectors.order import in_turn

BY_LENGTH = "selector 'mix' tells long from short by the student's tokens"


class MixConfig(SelectConfig):
    """Which groups, in which proportions. Shares are of rows."""

    by: str = "dataset"
    """What the groups are: dataset (the artifact a row came from), subject, level, another column, extra.KEY."""
    weights: dict[str, float] | None = None
    """Weight of each group; those not named get nothing. None = their sizes."""
    temperature: float = Field(1.0, gt=0)
    """Weights are raised to 1/temperature: 1 keeps them, a large one makes them equal."""
    long: int | None = Field(None, ge=1)
    """A response with more of the student's tokens than this is long."""
    long_share: float | None = Field(None, ge=0, le=1)
    """Share of long responses in every group. Mix-Long of arXiv 2502.12143 is 0.2: one long for four short."""

    @model_validator(mode="after")
    def _long_needs_its_border(self) -> MixConfig:
        if (self.long is None) != (self.long_share is None):
            raise ValueError("long (tokens) and long_share go together; set both or neither")
        if self.weights is not None and (min(self.weights.values(), default=0) < 0 or not any(self.weights.values())):
            raise ValueError("weights are 0 or more, and one at least is above 0")
        return self


def mix(rows: Rows, budget: int, config: MixConfig, tools: Tools, seed: int) -> Decision:
    """The score is the response's length where long ones are told from short ones. A group that runs out leaves its
    turns to the others, in proportion, and that is said."""
    names = group_names(rows, config.by)
    wanted = shares(Counter(names), config.weights, config.temperature)
    score = None
    weight = dict(wanted)
    if config.long is not None and config.long_share is not None:
        responses = tools.token_counts(rows.responses, BY_LENGTH)
        score = responses.astype(np.float64)
        names = [f"{name}, {kind}" for name, kind in zip(names, long_or_short(responses, config.long), strict=True)]
        weight = with_long(wanted, config.long_share)
    number, known = numbered(names)
    by_number = {k: weight[name] for k, name in enumerate(known)}
    order = in_turn(number, np.arange(len(rows)), seed, by_number)
    unfit = {i: f"{name} has no weight" for i, name in enumerate(names) if weight[name] == 0}
    decision = choose(
        "mix",
        rows,
        order,
        budget,
        config,
        tools,
        score=score,
        unfit=unfit,
        columns={"group": names},
    )
    groups = taken_of(names, decision.keep, {k: v for k, v in weight.items() if k in set(known)})
    said = short_of_their_share(groups)
    for line in said:
        tools.note(line)
    return replace(decision, notes={**decision.notes, "by": config.by, "groups": groups, "said": said})


def mix_ready(config: MixConfig, tools: Tools) -> None:
    tokens_ready("mix", config, tools)
    if config.long is not None:
        tools.tokenizer(BY_LENGTH)


def long_or_short(lengths: NDArray[np.int64], border: int) -> list[str]:
    """ "long" where a response has more tokens than `border`, else "short"; [n]."""
    return ["long" if length > border else "short" for length in lengths]


def with_long(wanted: dict[str, float], share: float) -> dict[str, float]:
    """Every group's share, parted into its long and its short rows."""
    return {
        f"{name}, {kind}": weight * part
        for name, weight in wanted.items()
        for kind, part in (("long", share), ("short", 1 - share))
    }


def taken_of(names: list[str], keep: NDArray[np.bool_], wanted: dict[str, float]) -> list[dict[str, Any]]:
    """Each group's size, the share it should have and the share that it has."""
    sizes = Counter(names)
    taken = Counter(name for name, kept in zip(names, keep, strict=True) if kept)
    total, whole = sum(taken.values()), sum(wanted.values())
    return [
        {
            "group": name,
            "size": sizes[name],
            "taken": taken[name],
            "wanted_share": share / whole,
            "share": taken[name] / total,
        }
        for name, share in wanted.items()
    ]


def short_of_their_share(groups: list[dict[str, Any]]) -> list[str]:
    """Groups that ran out before their share was full."""
    return [
        f"{g['group']} has only {g['size']:,} rows: {100 * g['share']:.0f} % of the mix instead of "
        f"{100 * g['wanted_share']:.0f} %; the others fill the rest"
        for g in groups
        if g["taken"] == g["size"] and g["share"] < g["wanted_share"] - 0.005
    ]
