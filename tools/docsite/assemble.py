"""Puts the site's sources together: docs/ as it stands, and the project's pages from outside of it.

The navigation is docs/index.md itself: each of its lists under a heading is a part of the sidebar, in that order. A
page ``x.md`` has under it those pages of the folder ``x/`` that it links to.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

# Pages outside docs/, and what they are called on the site.
OUTSIDE = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md", "perf/README.md": "measurements.md"}
LINK = re.compile(r"(\]\()([^)\s]+)(\))")
FENCE = re.compile(r"^(```+).*?^\1\s*$", re.MULTILINE | re.DOTALL)


def assemble(root: Path, into: Path) -> None:
    """Writes the sources into the folder `into`, anew. Files that pages link to and that are no pages go to files/."""
    places = page_places(root)
    shutil.rmtree(into, ignore_errors=True)
    for source, place in places.items():
        text = (root / source).read_text(encoding="utf-8")
        target = into / place
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(_moved(text, source, root, places, into) + _toctrees(text, source, places), encoding="utf-8")


def page_places(root: Path) -> dict[str, str]:
    """Page by its path in the project → its path on the site."""
    inside = {p.relative_to(root).as_posix(): p.relative_to(root / "docs").as_posix() for p in _pages(root)}
    return {**inside, **{source: place for source, place in OUTSIDE.items() if (root / source).is_file()}}


def _pages(root: Path) -> list[Path]:
    return sorted((root / "docs").rglob("*.md"))


def links(text: str) -> list[str]:
    """Targets of the links of a page, code left out, in order."""
    return [target for _, target, _ in LINK.findall(FENCE.sub("", text))]


def navigation(text: str, source: str, places: Mapping[str, str]) -> dict[str, list[str]]:
    """Heading → the pages under it in the sidebar, as paths on the site. Of a page other than index.md: "" → pages."""
    if source == "docs/index.md":
        parts = re.split(r"^## (.*)$", text, flags=re.MULTILINE)
        heads = dict(zip(parts[1::2], parts[2::2], strict=True))
        listed = {head: [line for line in body.splitlines() if line.startswith("- [")] for head, body in heads.items()}
        return {head: _known("\n".join(lines), source, places) for head, lines in listed.items() if lines}
    below = places[source].removesuffix(".md") + "/"
    return {"": [place for place in _known(text, source, places) if place.startswith(below)]}


def _known(text: str, source: str, places: Mapping[str, str]) -> list[str]:
    found = (places.get(_resolved(target, source)) for target in links(text))
    return list(dict.fromkeys(place for place in found if place))


def _resolved(target: str, source: str) -> str:
    """A link's target as a path in the project, without its anchor."""
    return os.path.normpath(os.path.join(os.path.dirname(source), target.partition("#")[0]))


def _toctrees(text: str, source: str, places: Mapping[str, str]) -> str:
    parts = []
    for head, pages in navigation(text, source, places).items():
        if pages:
            options = [":hidden:", *([f":caption: {head}"] if head else [])]
            parts.append("\n".join(["", "```{toctree}", *options, "", *(f"/{page}" for page in pages), "```", ""]))
    return "".join(parts)


def _moved(text: str, source: str, root: Path, places: Mapping[str, str], into: Path) -> str:
    """The page with its links as they must be on the site. FileNotFoundError for one that leads nowhere."""

    def place(match: re.Match[str]) -> str:
        before, target, after = match.groups()
        if re.match(r"[a-z]+:|#", target):
            return match[0]
        path, hash_, anchor = target.partition("#")
        found = _resolved(path, source)
        if found not in places and not (root / found).is_file():
            raise FileNotFoundError(f"{source} links to {target}, and there is no such file")
        to = places.get(found) or _carried(found, root, into)
        return before + os.path.relpath(to, os.path.dirname(places[source]) or ".") + hash_ + anchor + after

    pieces, end = [], 0
    for fence in FENCE.finditer(text):
        pieces += [LINK.sub(place, text[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*pieces, LINK.sub(place, text[end:])])


def _carried(found: str, root: Path, into: Path) -> str:
    """The place of a file that is no page: where it was below docs/, else files/; it is copied there."""
    to = found.removeprefix("docs/") if found.startswith("docs/") else f"files/{found}"
    (into / to).parent.mkdir(parents=True, exist_ok=True)
    if not (into / to).exists():
        shutil.copyfile(root / found, into / to)
    return to
