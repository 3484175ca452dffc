"""Tables that the Markdown report and the cards share, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from posttrain.evals.table import markdown, percent
from posttrain.report.costs import Costs
from posttrain.report.hyperparameters import Hyperparameters
from posttrain.report.selection import Selection
from posttrain.report.words import brief, duration, plain


@dataclass(frozen=True)
class Table:
    """Rows of text under a header; the first column names its row. words: further columns that hold words and are
    set to the left, where numbers are set to the right. note: what must be known to read it."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: tuple[int, ...] = ()
    note: str = ""

    def as_markdown(self) -> list[str]:
        """Title, table and note as parts of a page."""
        rows = [[cell(text) for text in row] for row in self.rows]
        table = markdown([cell(name) for name in self.header], rows)
        title = [f"**{plain(self.title)}**"] if self.title else []
        return [*title, table, *([plain(self.note)] if self.note else [])]


def cell(text: str) -> str:
    """Text from outside in a table's cell; `markdown` escapes the pipes."""
    return plain(text).replace("\\|", "|")


def count(number: int | None) -> str:
    """1234 → "1,234"; a dash where it isn't known."""
    return "–" if number is None else f"{number:,}"


def money(dollars: float | None) -> str:
    """ "$0.42"; a dash where nothing is known, and never "$0.00" for something that was paid."""
    if dollars is None:
        return "–"
    return "< $0.01" if 0 < dollars < 0.005 else f"${dollars:,.2f}"


def selection_table(selection: Selection) -> str:
    """The steps of one curation."""
    rows = [
        [cell(s.name), count(s.before), count(s.kept), cell(s.settings) or "–", cell(s.reasons) or "–"]
        for s in selection.steps
    ]
    return markdown(["step", "rows before", "kept", "settings", "left out because"], rows)


def hyperparameters_table(told: Hyperparameters) -> str:
    """One row per key, one column per training stage."""
    rows = [[f"`{key}`", *("–" if v is None else cell(brief(v)) for v in row)] for key, row in told.rows.items()]
    return markdown(["key", *(cell(c) for c in told.columns)], rows)


def costs_table(costs: Costs) -> str:
    """Time and money of every stage, and their sums."""
    rent = costs.price is not None
    head = ["stage", "made by", "time", "attempts", "paid", *(["rent"] if rent else []), "on"]
    rows = [
        [
            cell(s.name),
            s.stage,
            duration(s.seconds),
            str(s.attempts),
            money(s.dollars),
            *([money(s.machine)] if rent else []),
            cell(s.hardware) or "–",
        ]
        for s in costs.stages
    ]
    total = ["**all**", "", duration(costs.seconds), "", money(costs.paid), *([money(costs.rent)] if rent else []), ""]
    return markdown(head, [*rows, total])


def published_table(entry: Mapping[str, Any], ours: Sequence[Mapping[str, Any]]) -> str:
    """Ours and theirs on one benchmark, each with its interval; ours: entries of report.json."""
    rows = [
        [
            f"**{cell(m['name'])}** (here)",
            percent(m["accuracy"]),
            f"{100 * m['interval'][0]:.1f} to {100 * m['interval'][1]:.1f}",
            count(m["n"]),
            percent(m["truncation_rate"]),
            percent(m["unparsed_rate"]),
        ]
        for m in ours
    ]
    rows += [
        [
            f"{cell(entry['model'])}, {cell(r['method'])}",
            f"{r['value']:g} %",
            "{:.1f} to {:.1f}".format(*bounds(r)),
            count(entry["n"]),
            "not said",
            "not said",
        ]
        for r in entry["rows"]
    ]
    return markdown(["model", "accuracy", "95 % interval", "n", "truncated", "unparsed"], rows)


def bounds(row: Mapping[str, Any]) -> tuple[float, float]:
    """The 95 % interval of a published row in percent."""
    return max(0.0, row["value"] - row["half_width"]), min(100.0, row["value"] + row["half_width"])
