"""From what people write (a folder or a hub name) to files on this disk."""

from __future__ import annotations

from pathlib import Path

from posttrain.errors import ModelError
from posttrain.hub.download import snapshot
from posttrain.hub.mirror import find


def resolve_model(ref: str | Path, revision: str | None = None) -> Path:
    """The folder of a model: `ref` itself, else the mirror's copy, else the Hub's cache, downloading what is missing.

    ModelError when `ref` is a path that doesn't exist, and when a hub name can't be had (with how to use a mirror).
    """
    path = Path(ref).expanduser()
    if path.is_dir():
        return path
    if path.is_file():
        raise ModelError(f"{ref} is a file. Give the folder that holds config.json and the weights.")
    name = str(ref)
    if not looks_like_hub_name(name):
        raise ModelError(f"there is no folder {name}. Give the path of a model folder, or a hub name such as org/name.")
    return find("model", name, revision) or snapshot("model", name, revision)


def looks_like_hub_name(name: str) -> bool:
    """``org/name`` or ``name``, with no path about it."""
    parts = name.split("/")
    return len(parts) <= 2 and all(part and part[0] not in ".~" for part in parts)
