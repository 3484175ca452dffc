"""A board as pages: path → what is served there. The server looks paths up here, and the static export writes them."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from posttrain.evals.table import p_value, percent, points
from posttrain.leaderboard.schema import Board, Entry, schemas

HTML = "text/html; charset=utf-8"
JSON = "application/json; charset=utf-8"


@dataclass(frozen=True)
class Page:
    """What is answered to a GET of one path."""

    kind: str
    body: bytes


@dataclass(frozen=True)
class Site:
    """All pages by path (``index.html``, ``entry/….html``, ``board.json`` …), and the policy to read them under."""

    pages: dict[str, Page]
    policy: str


def make_site(board: Board) -> Site:
    """Every page of a board. No script, no outside address; the one style sheet is allowed by its hash."""
    environment = Environment(
        loader=PackageLoader("posttrain.leaderboard", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=percent, points=points, p_value=p_value, place=place, span=span, money=money)
    css = files("posttrain.leaderboard").joinpath("templates/board.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    # The style sheet is ours and holds no text from outside, so it goes in unescaped.
    shared = {"board": board, "css": Markup(css), "policy": policy}
    pages = {"index.html": _html(environment.get_template("board.html.jinja").render(**shared))}
    entry_page = environment.get_template("entry.html.jinja")
    for table in board.tables:
        for entry in table.entries:
            pages[f"entry/{entry.id}.html"] = _html(entry_page.render(table=table, entry=entry, **shared))
    pages["board.json"] = Page(JSON, as_json(board))
    pages |= {f"schema/{name}": Page(JSON, text.encode()) for name, text in schemas().items()}
    return Site(pages, f"{policy}; frame-ancestors 'none'")


def as_json(board: Board) -> bytes:
    """board.json."""
    return (json.dumps(board.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n").encode()


def _html(text: str) -> Page:
    return Page(HTML, text.encode("utf-8", errors="replace"))


def place(entry: Entry) -> str:
    """The rank for people: "1", "2–4" where noise leaves that open, "–" where there is none."""
    if entry.rank is None:
        return "–"
    return str(entry.rank) if entry.rank == entry.rank_worst else f"{entry.rank}–{entry.rank_worst}"


def span(seconds: float | None) -> str:
    """75.2 → "1 min 15 s"; a dash where it isn't known."""
    if seconds is None:
        return "–"
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, left = divmod(minutes, 60)
    return f"{minutes} min {rest} s" if hours == 0 else f"{hours:,} h {left} min"


def money(dollars: float | None) -> str:
    """ "$0.42"; a dash where it isn't known."""
    if dollars is None:
        return "–"
    return "< $0.01" if 0 < dollars < 0.005 else f"${dollars:,.2f}"
