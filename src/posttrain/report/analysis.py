"""A comparison taken apart: what the difference is made of, and what else changed between the two models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from posttrain.evals.table import parts_in_words, percent, points

RATES = {"format_rate": "format kept", "truncation_rate": "truncated", "unparsed_rate": "unparsed"}
SEEN = 0.005  # a rate that moved by less is not worth a sentence


def analyse(models: Sequence[Mapping[str, Any]], comparisons: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """For every comparison of report.json: a, b, benchmark and sentences about them, all from the numbers."""
    entries = {(m["name"], m["benchmark"]): m for m in models}
    return [
        {
            "a": c["a"],
            "b": c["b"],
            "benchmark": c["benchmark"],
            "says": [
                *_outcome(c),
                *_parts(c),
                *_sides(entries[c["a"], c["benchmark"]], entries[c["b"], c["benchmark"]]),
            ],
        }
        for c in comparisons
    ]


def _outcome(c: Mapping[str, Any]) -> list[str]:
    moved = c["won"] + c["lost"]
    if moved == 0:
        return [f"On all {c['n']:,} problems both score the same."]
    return [
        f"{c['b']} scores higher on {c['won']:,} problems and lower on {c['lost']:,}; on {c['n'] - moved:,} of "
        f"{c['n']:,} both score the same."
    ]


def _parts(c: Mapping[str, Any]) -> list[str]:
    if c["parts"] is None:
        return ["Where the difference comes from can't be told: the two have different numbers of samples."]
    return [f"By cause, in points: {parts_in_words(c['parts'])}."] if any(c["parts"].values()) else []


def _sides(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """Rates that moved, lengths, and how far the verdicts can be trusted."""
    found = []
    for key, name in RATES.items():
        before, after = a.get(key), b.get(key)
        if before is not None and after is not None and abs(after - before) >= SEEN:
            found.append(f"{name} {percent(before)} → {percent(after)} ({points(after - before)} points)")
    said = [f"Of the answers: {'; '.join(found)}."] if found else []
    if _known(a) and _known(b):
        said.append(
            f"An answer of {b['name']} has {_length(b)} tokens, one of {a['name']} {_length(a)}"
            f"{'' if _apart(a, b) else '; these intervals overlap'}."
        )
    undecided = max(a["undecided_rate"], b["undecided_rate"])
    if undecided > 0:
        said.append(f"The grader left up to {percent(undecided)} undecided; they count as not correct.")
    return said


def _known(m: Mapping[str, Any]) -> bool:
    return m.get("mean_tokens") is not None and bool(m.get("tokens_interval"))


def _length(m: Mapping[str, Any]) -> str:
    low, high = m["tokens_interval"]
    return f"{m['mean_tokens']:.1f} [{low:.1f}, {high:.1f}]"


def _apart(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    (a_low, a_high), (b_low, b_high) = a["tokens_interval"], b["tokens_interval"]
    return bool(a_high < b_low or b_high < a_low)
