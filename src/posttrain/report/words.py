"""Comparisons as sentences."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from posttrain.evals.table import p_value, percent, points


def sentence(c: Mapping[str, Any], *, several_benchmarks: bool = False) -> str:
    """ "sft is better than base: +41.2 points [+38.0, +44.4], p < 1e-9, n = 1,000." from an entry of report.json."""
    where = f" on {c['benchmark']}" if several_benchmarks else ""
    low, high = c["interval"]
    numbers = (
        f"{points(c['difference'])} points [{points(low)}, {points(high)}], {p_value(c['p_adjusted'])}, n = {c['n']:,}"
    )
    if c["verdict"] in ("better", "worse"):
        return f"{c['b']} is {c['verdict']} than {c['a']}{where}: {numbers}."
    more = c["verdict"].removeprefix("cannot tell; ")
    detectable = 100 * c["minimal_detectable_difference"]
    return (
        f"Cannot tell whether {c['b']} is better than {c['a']}{where}: {numbers}; {more} "
        f"(these {c['n']:,} could show a difference of {detectable:.1f} points)."
    )


def tone(verdict: str) -> str:
    """The CSS class of a verdict: good, bad or unsure."""
    return {"better": "good", "worse": "bad"}.get(verdict, "unsure")


def steady(text: str) -> str:
    """The sentence with its "p < …" and "n = …" kept on one line each."""
    return text.replace(" < ", "\u00a0<\u00a0").replace(" = ", "\u00a0=\u00a0")


def tight(text: str) -> str:
    """Numbers with their signs and intervals kept on one line each: "52.0 % [47.6, 56.4]" breaks before the bracket."""
    return text.replace(" %", "\u00a0%").replace(", ", ",\u00a0").replace("< ", "<\u00a0")


def duration(seconds: float | None) -> str:
    """75.2 → "1 min 15 s"."""
    if seconds is None:
        return "–"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def brief(value: Any) -> str:
    """A fact for a table cell: numbers to four digits, everything else as it is."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, dict):
        return ", ".join(f"{k} {brief(v)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(brief, value)) or "none"
    return str(value)


def plain(text: str) -> str:
    """Text from outside on one line, with what Markdown or HTML would read as markup escaped."""
    return re.sub(r"([\\`*_<>\[\]#|!])", r"\\\1", " ".join(text.split()))


def fenced(text: str) -> str:
    """Model text as a code block whose fence is longer than any run of backticks in it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"


def rate(value: float | None, interval: Sequence[float] | None) -> str:
    """A share with its interval: "52.0 % [47.6, 56.4]"; a dash where none is known."""
    if value is None:
        return "–"
    return percent(value) + (f" [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]" if interval else "")


def mean(value: float | None, interval: Sequence[float] | None) -> str:
    """A number with its interval: "31.4 [30.2, 32.6]", decimals by its size; a dash where none is known."""
    if value is None:
        return "–"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    bounds = f" [{interval[0]:.{digits}f}, {interval[1]:.{digits}f}]" if interval else ""
    return f"{value:,.{digits}f}{bounds}".replace("-", "−")
