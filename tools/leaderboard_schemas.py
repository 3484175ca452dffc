"""Writes the JSON schemas of submissions and boards that the package ships: ``python tools/leaderboard_schemas.py``."""

from __future__ import annotations

from pathlib import Path

import posttrain.leaderboard
from posttrain.leaderboard.schema import schemas

FOLDER = Path(posttrain.leaderboard.__file__).parent / "schema"

if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in schemas().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
        print(FOLDER / name)
