"""Reads a built site as a browser would: do all links, anchors, images, scripts and styles stand in it?"""

from __future__ import annotations

import re
from collections import defaultdict
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_LOADED = {("script", "src"), ("img", "src"), ("source", "src"), ("iframe", "src"), ("object", "data")}
_STYLED = re.compile(r"""(?:url\(|@import\s+)\s*['"]?(?:https?:)?//""")


class _Page(HTMLParser):
    """Anchors that a page has, places it links to, and what a browser loads with it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value for name, value in attrs if value is not None}
        self.anchors.update(value for name, value in given.items() if name in ("id", "name"))
        for name, value in given.items():
            if (tag, name) in _LOADED:
                self.loads.append(value)
            elif (tag, name) == ("link", "href"):
                (self.links if given.get("rel") in ("next", "prev", "search", "index") else self.loads).append(value)
            elif (tag, name) == ("a", "href"):
                self.links.append(value)


def problems(site: Path) -> list[str]:
    """One line for everything that leads nowhere, or that a browser would ask another machine for."""
    site = site.resolve()
    pages = {path: _Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    anchors: defaultdict[Path, set[str]] = defaultdict(set, {path: page.anchors for path, page in pages.items()})
    found = []
    for path, page in pages.items():
        where = path.relative_to(site)
        found += [f"{where}: loads {url} from another machine" for url in page.loads if urlsplit(url).netloc]
        for url in dict.fromkeys([*page.links, *page.loads]):
            parts = urlsplit(url)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.is_relative_to(site) or not target.exists():
                found.append(f"{where}: {url} leads nowhere")
            elif parts.fragment and target.suffix == ".html" and unquote(parts.fragment) not in anchors[target]:
                found.append(f"{where}: {url}: no such place on that page")
    for style in sorted(site.rglob("*.css")):
        if _STYLED.search(style.read_text(encoding="utf-8")):
            found.append(f"{style.relative_to(site)}: asks another machine for something")
    return found
