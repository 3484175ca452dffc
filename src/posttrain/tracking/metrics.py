"""metrics.jsonl: one JSON object a line, each with its step; a resumed run drops what lies past its checkpoint."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from posttrain.errors import StoreError


class Metrics:
    def __init__(self, path: Path) -> None:
        self.path = path

    def log(self, step: int, **values: Any) -> None:
        """Appends one line and flushes it. NaN and infinities are written as null: JSON has no word for them."""
        row = {"step": step, **{k: _jsonable(v) for k, v in values.items()}}
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
        except OSError as error:
            raise StoreError(f"can't write {self.path}: {error.strerror}. Free some space and run again.") from error

    def rewind(self, step: int) -> None:
        """Drops lines with a step greater than `step` (and a torn last line): they will be logged again."""
        rows = [r for r in self.read() if r["step"] <= step]
        temporary = self.path.with_name(f".{self.path.name}.tmp")
        temporary.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8")
        temporary.replace(self.path)

    def read(self) -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        rows = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                rows.append(json.loads(line))
            except ValueError:
                break  # a torn last line: the process died while writing it
        return rows


def _jsonable(value: Any) -> Any:
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
