"""From what people write (a folder or a hub name) to files on this disk."""

from __future__ import annotations

import re
from pathlib import Path

from posttrain.errors import DataError, ModelError
from posttrain.hub.download import snapshot
from posttrain.hub.mirror import find, mirror_root, place

_FILE = re.compile(r"^hf://datasets/(?P<repository>[\w.-]+/[\w.-]+)/(?P<path>[\w./-]+)$")


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


def dataset_file(ref: str) -> Path:
    """The file that ``hf://datasets/org/name/path/to/file.jsonl`` names: the mirror's copy, else the Hub's.

    DataError for another form, and where the file can't be had.
    """
    match = _FILE.match(ref)
    if match is None or ".." in match["path"].split("/"):
        raise DataError(f"{ref!r} names no file of a dataset. Write hf://datasets/org/name/path/to/file.jsonl.")
    root = mirror_root()
    mirrored = place(root, "dataset", match["repository"], None) / match["path"] if root is not None else None
    if mirrored is not None and mirrored.is_file():
        return mirrored
    found = snapshot("dataset", match["repository"], None, only=match["path"]) / match["path"]
    if not found.is_file():
        raise DataError(f"{match['repository']} has no file {match['path']}. Its page on the Hub lists what it has.")
    return found
