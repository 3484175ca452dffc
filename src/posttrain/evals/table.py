"""Scores and comparisons as text: Markdown tables that also read well on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def percent(value: float | None, digits: int = 1) -> str:
    """0.4125 → "41.2 %"; a share that rounds to 0 or 100 and isn't gets "<" or ">"; "n/a" where none is known."""
    if value is None:
        return "n/a"
    shown = f"{100 * value:.{digits}f}"
    if float(shown) == 0 and value > 0:
        return f"< {10**-digits:g} %"
    if float(shown) == 100 and value < 1:
        return f"> {100 - 10**-digits:g} %"
    return f"{shown} %"


def points(value: float) -> str:
    """A difference of accuracies in points, signed, with a true minus: −3.2; plain 0.0."""
    shown = f"{100 * value:+.1f}"
    return "0.0" if float(shown) == 0 else shown.replace("-", "−")


def p_value(p: float) -> str:
    """ "p = 0.013", "p < 1e-9"."""
    if p < 1e-9:
        return "p < 1e-9"
    return f"p = {p:.3f}" if p >= 0.001 else f"p = {p:.0e}"


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with aligned columns; pipes in cells are escaped."""
    cells = [[str(c).replace("|", "\\|").replace("\n", " ") for c in row] for row in [header, *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |" for row in cells]
    return "\n".join([lines[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *lines[1:]])


def scores_table(models: Sequence[Mapping[str, Any]]) -> str:
    """Accuracies of report entries (`name`, `benchmark`, …), never without n, interval and rates."""
    header = ["model", "benchmark", "accuracy", "95 % interval", "n", "format", "truncated", "unparsed", "undecided"]
    if models and models[0]["confidence"] != 0.95:
        header[3] = f"{100 * models[0]['confidence']:g} % interval"
    rows = [
        [
            m["name"],
            m["benchmark"],
            percent(m["accuracy"]),
            f"{100 * m['interval'][0]:.1f} to {100 * m['interval'][1]:.1f}",
            f"{m['n']:,}" + (f" × {m['samples_per_item']}" if m["samples_per_item"] > 1 else ""),
            *(percent(m[f"{rate}_rate"]) for rate in ("format", "truncation", "unparsed", "undecided")),
        ]
        for m in models
    ]
    return markdown(header, rows)


def samples_table(models: Sequence[Mapping[str, Any]]) -> str:
    """What is known of the answers beside their accuracy: length, entropy, acc_norm, pass@k and maj@k, each mean over
    problems with its interval. Empty where nothing is known."""
    rows = []
    for m in models:
        cells = [
            f"{m['mean_tokens']:.0f} ({m['tokens_interval'][0]:.0f} to {m['tokens_interval'][1]:.0f}) tokens"
            if m.get("mean_tokens") is not None and m.get("tokens_interval")
            else None,
            f"entropy {m['entropy']:.3f}" if m.get("entropy") is not None else None,
            _measured("acc_norm", m["acc_norm"], m["acc_norm_interval"]) if "acc_norm" in m else None,
            *(_measured(f"pass@{k}", v, m["pass_at_interval"][k]) for k, v in m.get("pass_at", {}).items() if k != "1"),
            *(
                _measured(f"maj@{k}", v, m["maj_at_interval"][k])
                for k, v in m.get("maj_at", {}).items()
                if v is not None
            ),
        ]
        if any(cells):
            rows.append([m["name"], m["benchmark"], "; ".join(c for c in cells if c)])
    return markdown(["model", "benchmark", "95 % intervals in brackets"], rows) if rows else ""


def _measured(name: str, value: float, interval: Sequence[float]) -> str:
    return f"{name} {percent(value)} ({100 * interval[0]:.1f} to {100 * interval[1]:.1f})"


def comparisons_table(comparisons: Sequence[Mapping[str, Any]]) -> str:
    """Comparisons as `Comparison.as_json` gives them. Each p is Holm's over its family."""
    header = ["comparison", "benchmark", "difference", "interval", "p", "won", "lost", "n", "detectable", "verdict"]
    rows = [
        [
            f"{c['b']} − {c['a']}",
            c["benchmark"],
            points(c["difference"]),
            f"{points(c['interval'][0])} to {points(c['interval'][1])}",
            p_value(c["p_adjusted"]).removeprefix("p ").removeprefix("= "),
            f"{c['won']:,}",
            f"{c['lost']:,}",
            f"{c['n']:,}",
            f"{100 * c['minimal_detectable_difference']:.1f}",
            c["verdict"],
        ]
        for c in comparisons
    ]
    return markdown(header, rows)


def parts_in_words(parts: Mapping[str, float]) -> str:
    """ "reasoning +38.1, truncation +3.0": the parts of a difference that are not 0, largest first."""
    shown = sorted(((k, v) for k, v in parts.items() if v), key=lambda kv: -abs(kv[1]))
    return ", ".join(f"{name} {points(value)}" for name, value in shown) or "nothing changed"
