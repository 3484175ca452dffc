"""The local mirror: a folder with the models and datasets that a node without network needs.

``POSTTRAIN_DATA`` names it. Two layouts are read: flat files (``gsm8k_train.jsonl``), which people make by hand, and
what `fetch` writes: ``models/ORG/NAME[@REVISION]/`` and ``datasets/ORG/NAME[@REVISION]/SUBSET/SPLIT.jsonl``, each
with a ``mirror.json`` that lists the files with their sha256.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Literal

from posttrain.errors import DataError

Kind = Literal["model", "dataset"]
VARIABLE = "POSTTRAIN_DATA"
LISTING = "mirror.json"


def mirror_root() -> Path | None:
    """The mirror that ``POSTTRAIN_DATA`` names, or None. DataError when it names no folder."""
    value = os.environ.get(VARIABLE)
    if not value:
        return None
    root = Path(value).expanduser()
    if not root.is_dir():
        raise DataError(f"{VARIABLE} is {value!r}, which is no folder. Point it at a mirror made by `posttrain fetch`.")
    return root


def place(root: Path, kind: Kind, ref: str, revision: str | None) -> Path:
    """Where a mirror below `root` keeps `ref`."""
    return root / f"{kind}s" / (f"{ref}@{revision}" if revision else ref)


def find(kind: Kind, ref: str, revision: str | None) -> Path | None:
    """The mirrored folder of `ref`, or None.

    A revision asked for is found under its own name, or in the copy without one if that was made from it.
    """
    root = mirror_root()
    if root is None:
        return None
    exact = place(root, kind, ref, revision)
    if (exact / LISTING).is_file():
        return exact
    plain = place(root, kind, ref, None)
    if revision and (plain / LISTING).is_file():
        commit = str(listing(plain).get("commit") or "")
        return plain if len(revision) >= 7 and commit.startswith(revision) else None
    return None


def listing(folder: Path) -> dict[str, Any]:
    """The ``mirror.json`` of a mirrored folder. DataError when it is broken."""
    path = folder / LISTING
    try:
        value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} can't be read ({error}). Remove {folder} and run `posttrain fetch` again.") from None
    return value
