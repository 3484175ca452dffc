"""From what a page shows to HTML: Jinja with everything escaped, and the assets that go with it."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from posttrain import __version__
from posttrain.evals.table import p_value, percent, points
from posttrain.explorer.pages.table import PAGES
from posttrain.explorer.site import Site
from posttrain.explorer.text import plain
from posttrain.report.svg import line_chart
from posttrain.report.words import duration, steady


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("posttrain.explorer", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters.update(
        percent=percent, points=points, p_value=p_value, duration=duration, steady=steady, plain=plain
    )
    environment.globals["chart"] = line_chart
    return environment


def render(site: Site, name: str, shown: Mapping[str, Any], *, part: str | None = None) -> str:
    """The page, or only its live part."""
    template = _environment().get_template(f"{name}.html.jinja" if part is None else f"{name}.{part}.html.jinja")
    navigation = [
        {"name": n, "title": p.title, "href": site.to(n), "here": n == name or PAGES[name].under == n}
        for n, p in PAGES.items()
        if p.title and site.to(n)
    ]
    return template.render(
        site=site,
        to=site.to,
        current=name,
        navigation=navigation,
        version=__version__,
        static=site.static,
        asset=asset_address,
        **shown,
    )


def render_error(site: Site, message: str) -> str:
    navigation = [
        {"name": n, "title": p.title, "href": site.to(n), "here": False}
        for n, p in PAGES.items()
        if p.title and site.to(n)
    ]
    return (
        _environment()
        .get_template("error.html.jinja")
        .render(
            site=site,
            to=site.to,
            current="error",
            navigation=navigation,
            version=__version__,
            static=site.static,
            asset=asset_address,
            message=plain(message, 1_000),
        )
    )


def assets() -> dict[str, Path]:
    """Every bundled file by its address below /assets/."""
    folder = Path(str(files("posttrain.explorer").joinpath("assets")))
    return {p.relative_to(folder).as_posix(): p for p in sorted(folder.rglob("*")) if p.is_file()}


@functools.cache
def _version_of(name: str) -> str:
    return hashlib.sha256(assets()[name].read_bytes()).hexdigest()[:10]


def asset_address(name: str, static: bool) -> str:
    """/assets/app.js?v=…: a browser keeps it for as long as it stays the same."""
    return f"assets/{name}" if static else f"/assets/{name}?v={_version_of(name)}"
