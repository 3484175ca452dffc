"""AlpacaEval's two files behind its length-controlled win rate, where the user has them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from posttrain.errors import DataError
from posttrain.judge.config import LengthConfig
from posttrain.judge.length_controlled import Floats, Gamed, items_of


def read_length_files(config: LengthConfig, ids: Sequence[str]) -> tuple[Floats | None, Gamed | None]:
    """(difficulty of each problem, the gamed baseline's judgements), None for what isn't named.

    DataError for a file that isn't there, lacks a column or a problem.
    """
    difficulty = gamed = None
    if config.difficulty is not None:
        rows = _rows(config.difficulty)
        index, value = list(rows[0])[:2] if rows else ("", "")
        table = {int(float(row[index])): float(row[value]) for row in rows}
        places = items_of(ids)
        missing = [i for i in places if i not in table]
        if missing:
            raise DataError(
                f"{config.difficulty} has no difficulty of instruction {missing[0]}. Fetch AlpacaEval's own file."
            )
        difficulty = np.array([table[i] for i in places])
    if config.gamed is not None:
        rows = _rows(config.gamed)
        wanted = ("preference", "std_delta_len", "instruction_difficulty")
        lacks = [name for name in wanted if not rows or name not in rows[0]]
        if lacks:
            raise DataError(f"{config.gamed} has no column {lacks[0]!r}. Fetch AlpacaEval's df_gamed.csv.")
        gamed = Gamed(*(np.array([float(row[name]) for row in rows if row["preference"]]) for name in wanted))
    return difficulty, gamed


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.expanduser().open(encoding="utf-8-sig", newline="") as file:
            return list(csv.DictReader(file))
    except OSError as error:
        raise DataError(
            f"{path} can't be read ({error.strerror}). Name AlpacaEval's own file, or leave it out."
        ) from None
