"""Old versions of an artifact: ``STAGE@1``, ``STAGE@2`` … beside ``STAGE``. Nothing is ever deleted."""

from __future__ import annotations

import os
import re
from pathlib import Path

from posttrain.store.atomic import sync_folder


def set_aside(folder: Path) -> Path | None:
    """Renames `folder` to its next free version and returns that; None when there was nothing to set aside."""
    if not folder.exists():
        return None
    number = max((n for n, _ in versions_of(folder)), default=0) + 1
    target = folder.with_name(f"{folder.name}@{number}")
    os.rename(folder, target)
    sync_folder(folder.parent)
    return target


def versions_of(folder: Path) -> list[tuple[int, Path]]:
    """Versions set aside so far, oldest first."""
    pattern = re.compile(re.escape(folder.name) + r"@(\d+)$")
    siblings = folder.parent.iterdir() if folder.parent.is_dir() else []
    return sorted((int(match[1]), path) for path in siblings if (match := pattern.match(path.name)))
