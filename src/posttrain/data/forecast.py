"""What making problems costs, and how many there will be, told before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from posttrain.data.config import SPLITS, DataConfig, Split, asked
from posttrain.data.dataset_info import INFO
from posttrain.data.rows import SUFFIXES, read_rows

if TYPE_CHECKING:
    from posttrain.data.examples import ExamplesConfig

LESSON_SECONDS = 3e-5  # to read a row and to write what it teaches, without its text
TOKEN_BYTES = 4  # of English, with the names of columns

# Questions and solutions in tokens: the synthetic task's with its own small tokenizer, the others' with Qwen's.
TOKENS = {"synthetic": (45, 25), "synthetic-text": (30, 0), "gsm8k": (75, 140), "math": (100, 250)}
SIZES: dict[str, dict[Split, int]] = {"gsm8k": {"train": 7473, "test": 1319}, "math": {"train": 12_000, "test": 500}}

# A split keeps one made story in ten (test) to seven in ten (train), so a test problem takes longer. Levels 1 and 2,
# one core of a server's CPU.
SECONDS = {"train": 23e-6, "validation": 113e-6, "test": 70e-6}


def forecast(config: DataConfig, inputs: dict[str, Any]) -> dict[str, Any]:
    """Of the synthetic task everything; of other datasets how many problems, where that is published."""
    counts = asked(config) if config.synthetic else _of_dataset(config)
    makes: dict[str, Any] = {str(split): count for split, count in counts.items()}
    if config.dataset in TOKENS:
        makes |= dict(zip(("question_tokens", "solution_tokens"), TOKENS[config.dataset], strict=True))
    total = sum(counts.values())
    seconds = 0.3 + sum(SECONDS[split] * count for split, count in counts.items()) if config.synthetic else None
    return {
        "seconds": seconds,  # reading takes seconds; how long a download takes nobody knows
        "memory_bytes": 1e8 + 2000 * total if counts else None,
        "disk_bytes": (40 if config.synthetic else 400) * total if counts else None,
        "dollars": 0.0,
        "makes": makes,
    }


def _of_dataset(config: DataConfig) -> dict[Split, int]:
    counts = dict(SIZES.get(config.dataset, {}))
    if not counts or config.levels is not None:
        return {}
    reserved: tuple[tuple[Split, int | None], ...] = (("validation", config.validation), ("test", config.test))
    for split, taken in reserved:
        if taken:
            counts["train"] -= taken
            counts[split] = counts.get(split, 0) + taken
    limit = config.limit
    for split in SPLITS:
        most = limit.get(split) if isinstance(limit, dict) else limit
        if most is not None and split in counts:
            counts[split] = min(counts[split], most)
    return counts


def examples_forecast(config: ExamplesConfig, inputs: dict[str, Any]) -> dict[str, Any]:
    """Of a person's own file its rows, and a token for four bytes of it; of a hub dataset how many rows are asked for.

    Rows that `without` leaves out, and those without an answer, are counted as if they stayed.
    """
    there, size = _measured(config)
    asked = [n for n in (there, config.sample, config.limit) if n is not None]
    if not asked:
        return {"dollars": 0.0, "makes": {}}
    rows = min(asked)
    if not there or size is None:
        return {"dollars": 0.0, "makes": {"rows": rows}}
    each = size / there
    return {
        "seconds": 0.3 + LESSON_SECONDS * there,
        "memory_bytes": 1e8 + 6 * size,
        "disk_bytes": 1e4 + 0.5 * rows * each,
        "dollars": 0.0,
        "makes": {"rows": rows, "tokens": each / TOKEN_BYTES},
    }


def _measured(config: ExamplesConfig) -> tuple[int | None, int | None]:
    """Rows and bytes of the file that holds them; None for what is not a file here."""
    files = config.files()
    path = files.get("data") or files.get("source")
    if path is None or path.name == INFO or path.suffix.lower() not in SUFFIXES:
        return None, None
    if path.suffix.lower() == ".parquet":
        import pyarrow.parquet as pq

        facts = pq.read_metadata(path)
        return facts.num_rows, sum(facts.row_group(i).total_byte_size for i in range(facts.num_row_groups))
    if path.suffix.lower() == ".jsonl":
        with path.open("rb") as file:
            return sum(bool(line.strip()) for line in file), path.stat().st_size
    return len(read_rows(path)), path.stat().st_size
