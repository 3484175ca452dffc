"""A recipe as it was when it was submitted: a job that starts tomorrow reads today's words."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from posttrain.config import load_yaml
from posttrain.errors import StoreError
from posttrain.pipeline import Graph, build_graph, find_recipe, parse_recipe
from posttrain.store import fingerprint, write_json
from posttrain.store.atomic import write_atomic


@dataclass(frozen=True)
class Frozen:
    """The text of a recipe and what was said to it on the command line."""

    text: str
    source: str
    overrides: tuple[str, ...]
    smoke: bool

    @property
    def digest(self) -> str:
        """Names it in the run's folder."""
        return fingerprint(asdict(self))[:12]

    def graph(self, text: Path) -> Graph:
        """The graph of it; `text` is a file that holds its text."""
        return build_graph(parse_recipe(load_yaml(text), self.source, self.overrides, smoke=self.smoke))

    def write(self, folder: Path) -> None:
        """Two files in `folder`, the second of which says that both stand."""
        with write_atomic(folder / f"{self.digest}.yaml") as file:
            file.write(self.text.encode())
        facts = {"source": self.source, "overrides": list(self.overrides), "smoke": self.smoke}
        write_json(folder / f"{self.digest}.json", facts)


def freeze(recipe: str, overrides: Sequence[str], *, smoke: bool) -> tuple[Frozen, Graph]:
    """A recipe by path or shipped name, and its graph."""
    path = find_recipe(recipe)
    graph = build_graph(parse_recipe(load_yaml(path), str(path), overrides, smoke=smoke))
    return Frozen(path.read_text(encoding="utf-8"), str(path), tuple(overrides), smoke), graph


def thawed(folder: Path, digest: str) -> Graph:
    """The graph that was frozen in `folder`. StoreError where it is gone."""
    try:
        facts = json.loads((folder / f"{digest}.json").read_text(encoding="utf-8"))
        text = (folder / f"{digest}.yaml").read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise StoreError(
            f"the submitted recipe {folder / digest}.yaml can't be read ({error}). Submit the recipe again."
        ) from None
    frozen = Frozen(text, facts["source"], tuple(facts["overrides"]), facts["smoke"])
    return frozen.graph(folder / f"{digest}.yaml")
