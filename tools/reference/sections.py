"""Generated sections of hand-written pages, between ``<!-- generated: KIND ARGUMENTS -->`` and its end."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

from tools.reference import curves, results
from tools.reference.source import find
from tools.reference.text import code, escaped, fenced, table

from posttrain.rl.algorithms.peers import PEERS, Peer
from posttrain.rl.algorithms.presets import PRESETS

MARK = "<!-- generated: "
END = "<!-- end of generated -->"
_SECTION = re.compile(rf"{MARK}(?P<what>[^\n]*?) -->\n.*?{END}", re.DOTALL)


def filled(text: str, root: Path, page: Path) -> str:
    """The page with every section written anew. KeyError for a kind that is not in the table."""

    def fill(match: re.Match[str]) -> str:
        kind, *arguments = match["what"].split()
        return f"{MARK}{match['what']} -->\n\n{SECTIONS[kind](root, page, *arguments).strip()}\n\n{END}"

    return _SECTION.sub(fill, text)


def excerpt(root: Path, page: Path, module: str, *names: str) -> str:
    """Definitions as they stand in the source, under the file's name."""
    found = [find(root, module, name) for name in names]
    file = Path("src", *module.split(".")).with_suffix(".py")
    link = os.path.relpath(root / file, page.parent)
    text = "\n\n\n".join(one.text() for one in found)
    return f"[{file.as_posix()}]({Path(link).as_posix()})\n\n{fenced(text, 'python')}"


def row(root: Path, page: Path, name: str) -> str:
    """What `algorithm: NAME` sets, and what of the paper is not in it."""
    del root, page
    preset = PRESETS[name]
    rows = [
        (code(key), code(json.dumps(value) if isinstance(value, dict) else f"{value}"))
        for key, value in preset.settings.items()
    ]
    words = f"From {escaped(preset.paper)}. A key that a recipe sets itself wins over the row's.\n\n"
    return (
        words
        + table(("key", f"`algorithm: {name}` sets"), rows)
        + (f"\n{escaped(preset.note)}\n" if preset.note else "")
    )


def peers(root: Path, page: Path, name: str) -> str:
    """How the same is asked of TRL and verl, and what is then different."""
    del root, page
    return "\n".join(_peer(library, PEERS[library][name]) for library in PEERS)


def _peer(library: str, peer: Peer | None) -> str:
    title = {"trl": "TRL 1.16", "verl": "verl"}[library]
    if peer is None:
        return f"**{title}** has nothing of that name.\n"
    lines = [f"- {escaped(key)}: {escaped(words)}" for key, words in peer.differences.items()]
    return f"**{title}**: `{peer.ask}`\n\n" + "\n".join(lines) + "\n"


def curve(root: Path, page: Path, name: str) -> str:
    """This algorithm's measured curve, or that there is none."""
    return curves.told(root, page, name)


def all_curves(root: Path, page: Path) -> str:
    """All algorithms' measured curves in one picture, and their numbers."""
    return curves.told_of_all(root, page)


SECTIONS: dict[str, Callable[..., str]] = {
    "code": excerpt,
    "row": row,
    "peers": peers,
    "curve": curve,
    "curves": all_curves,
    "half-widths": results.half_widths,
    "items-needed": results.needed,
    "quickstart": results.quickstart,
    "ratios": results.ratios,
}
