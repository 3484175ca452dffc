"""`student_aware`: difficulty, length and the share of long traces, set from what this very student can do.

What it looks at are graded attempts of the student. Its rules are ours, made from what the literature found, and each
can be overruled by a key; what was chosen is said and kept in the notes.

difficulty  A problem that is always solved teaches nothing, one that is never solved may teach nothing yet. Rows solved
            sometimes come first; never solved ones get a share that grows with the student: its own mean pass rate,
            and at most a half. Always solved ones only fill up.
length      Long is what has more than twice the tokens of nearly all (the 95th percentile) of its own right answers.
long share  At most a fifth for a student of 3B and less (Mix-Long, arXiv 2502.12143), and never more than its mean pass
            rate; for a larger one its mean pass rate, and at least a fifth.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from posttrain.curate.base import Decision, Rows, Tools
from posttrain.curate.selectors.attempts import PassRates, pass_rates
from posttrain.curate.selectors.choosing import SelectConfig, choose
from posttrain.curate.selectors.groups import numbered
from posttrain.curate.selectors.mix import long_or_short, short_of_their_share, taken_of
from posttrain.curate.selectors.order import in_turn
from posttrain.curate.selectors.small import is_small, warn_of_hard_and_long

ASKS = "selector 'student_aware' goes by what the student can do"
MIX_LONG = 0.2
LONG = 2.0  # times what nearly all of the student's own right answers have
HARD, MOSTLY_LONG = 0.5, 0.5  # shares of a selection from which it counts as hard, and as long
FILL = 1e-6  # weight of rows that are taken only where nothing better is left


class StudentAwareConfig(SelectConfig):
    """None = set from the student's pass rates."""

    never_solved: float | None = Field(None, ge=0, le=1)
    """Share of rows that the student never solved."""
    long: int | None = Field(None, ge=1)
    """Tokens above which a response is long."""
    long_share: float | None = Field(None, ge=0, le=1)
    """Share of long responses."""


def student_aware(rows: Rows, budget: int, config: StudentAwareConfig, tools: Tools, seed: int) -> Decision:
    """The score is the student's pass rate."""
    rates = pass_rates(rows, tools.attempts(ASKS))
    lengths = tools.token_counts(rows.responses, ASKS)
    own = tools.token_counts(rates.solved_texts, ASKS)
    plan = planned(config, rates, own, tools.student_parameters())
    warnings = []
    if plan["never_solved"] >= HARD and plan["long_share"] >= MOSTLY_LONG:
        warnings = warn_of_hard_and_long(tools, budget, "student_aware, so overruled,")
    unfit = {int(i): "the student has not tried this problem" for i in np.flatnonzero(np.isnan(rates.rate))}
    hardness = ["sometimes" if 0 < r < 1 else "never" if r == 0 else "always" for r in rates.rate]
    names = [
        f"{solved} solved, {kind}" for solved, kind in zip(hardness, long_or_short(lengths, plan["long"]), strict=True)
    ]
    number, known = numbered(names)
    weight = weights(plan)
    fit = np.array([i for i in range(len(rows)) if i not in unfit], dtype=np.int64)
    order = in_turn(number[fit], fit, seed, {k: weight[name] for k, name in enumerate(known)})
    decision = choose(
        "student_aware",
        rows,
        order,
        budget,
        config,
        tools,
        score=rates.rate,
        unfit=unfit,
        columns={"group": names},
        notes={"plan": plan, "warnings": warnings},
    )
    present = Counter(names)
    groups = taken_of(names, decision.keep, {k: w for k, w in weight.items() if present[k]})
    said = [in_words(plan), *short_of_their_share([g for g in groups if g["wanted_share"] > FILL])]
    for line in said:
        tools.note(line)
    return replace(decision, notes={**decision.notes, "groups": groups, "said": said})


def student_aware_ready(config: StudentAwareConfig, tools: Tools) -> None:
    tools.attempts(ASKS)
    tools.tokenizer(ASKS)


def planned(
    config: StudentAwareConfig, rates: PassRates, own: NDArray[np.int64], parameters: int | None
) -> dict[str, Any]:
    """What the rules say of a student. own: tokens of its own right answers. parameters: its size, None = not known,
    which is taken for a small one."""
    able = rates.mean
    small = is_small(parameters) is not False
    long_share = min(MIX_LONG, able) if small else max(MIX_LONG, able)
    long = int(LONG * np.quantile(own, 0.95)) if len(own) else 1  # nothing solved: every trace is long for it
    return {
        "mean_pass_rate": able,
        "attempts": rates.most_tried,
        "parameters": parameters,
        "never_solved": min(0.5, able) if config.never_solved is None else config.never_solved,
        "long": max(1, long) if config.long is None else config.long,
        "long_share": long_share if config.long_share is None else config.long_share,
        "overruled": sorted({"never_solved", "long", "long_share"} & {k for k, v in config if v is not None}),
    }


def weights(plan: dict[str, Any]) -> dict[str, float]:
    """Of every group of rows: how often solved, how long."""
    never, long_share = plan["never_solved"], plan["long_share"]
    solved = {"sometimes": 1 - never, "never": never, "always": 0.0}
    return {
        f"{how} solved, {kind}": max(share * part, FILL)
        for how, share in solved.items()
        for kind, part in (("long", long_share), ("short", 1 - long_share))
    }


def in_words(plan: dict[str, Any]) -> str:
    """What was chosen, for the person who watches."""
    size = f", {plan['parameters']:,} parameters" if plan["parameters"] else ""
    own = f" ({', '.join(plan['overruled'])} as given)" if plan["overruled"] else ""
    return (
        f"student solves {100 * plan['mean_pass_rate']:.0f} % of {plan['attempts']} attempts{size}: "
        f"{100 * plan['never_solved']:.0f} % of rows it never solves, {100 * plan['long_share']:.0f} % of responses "
        f"above {plan['long']:,} tokens{own}"
    )
