"""What sweep.json says of one problem set, in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from posttrain.evals.table import p_value, percent, points


def trend_in_words(trend: Mapping[str, Any], steps: Sequence[int]) -> str:
    """ "accuracy rises from step 0 to 300: +18.2 points [+14.0, +22.4], p < 1e-9, n = 500". steps: those compared."""
    way = steps[-1] - steps[0]
    where = f"from step {steps[0]:,} to {steps[-1]:,}"
    numbers = (
        f"{points(way * trend['slope'])} points [{points(way * trend['low'])}, {points(way * trend['high'])}] along a "
        f"line fitted to each problem, {p_value(trend['p'])}, n = {trend['n']:,}"
    )
    if trend["verdict"] == "cannot tell":
        return f"cannot tell whether accuracy rises or falls {where}: {numbers}"
    return f"accuracy {trend['verdict']} {where}: {numbers}"


def best_in_words(best: Mapping[str, Any]) -> str:
    """The best step with the problems that chose it, and its score on the others."""
    chosen, held_out = best["selection"], best["held_out"]
    if held_out is None:
        return (
            f"best step {best['step']:,}: {percent(chosen['accuracy'])} on all {chosen['n']:,} problems, on which it "
            "was chosen; that flatters it, so its score has to come from other problems"
        )
    low, high = held_out["interval"]
    text = (
        f"best step {best['step']:,}: {percent(chosen['accuracy'])} on the {chosen['n']:,} problems it was chosen on, "
        f"{percent(held_out['accuracy'])} [{100 * low:.1f}, {100 * high:.1f}] on the other {held_out['n']:,}"
    )
    against = held_out.get("against_last")
    if against is None:
        return text
    low, high = against["interval"]
    verdict = {"better": "better than", "worse": "worse than"}.get(against["verdict"], "not told apart from")
    return (
        f"{text}, there {verdict} the last step ({points(against['difference'])} points [{points(low)}, "
        f"{points(high)}], {p_value(against['p'])})"
    )
