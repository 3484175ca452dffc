"""The process that parses one submitted Parquet file: ``python -m posttrain.leaderboard.child FD LIMITS``.

Writes one JSON list per answer to standard output. Exit code 3: the file is not what it must be, and standard error
says why in one line.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from typing import Any

COLUMNS = {"problem_id": "string", "index": "integer", "response": "string"}  # without these there is nothing to grade
ALSO = ("question", "finish_reason", "token_ids")


class RefusedError(Exception):
    """The file is not what it must be; the message is for the submitter."""


def main(descriptor: int, limits: dict[str, int]) -> None:
    """Reads the open file `descriptor` within `limits`."""
    for kind, bound in (
        (resource.RLIMIT_AS, limits["memory"]),
        (resource.RLIMIT_CPU, limits["seconds"]),
        (resource.RLIMIT_FSIZE, 3 * limits["total"]),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (bound, bound))
    import pyarrow as pa
    import pyarrow.parquet as pq

    with os.fdopen(descriptor, "rb") as file:
        try:
            parquet = pq.ParquetFile(file)
            _check(parquet, limits)
            names = [n for n in (*COLUMNS, *ALSO) if n in parquet.schema_arrow.names]
            left = limits["total"]
            for batch in parquet.iter_batches(batch_size=512, columns=names, use_threads=False):
                left -= _write(batch, names, limits, left)
        except (pa.ArrowException, OSError, UnicodeDecodeError, MemoryError) as error:
            raise RefusedError(f"it can't be read as Parquet ({type(error).__name__})") from None


def _check(parquet: Any, limits: dict[str, int]) -> None:
    import pyarrow.types as kinds

    if parquet.metadata.num_rows > limits["rows"]:
        raise RefusedError(f"it has {parquet.metadata.num_rows:,} answers; at most {limits['rows']:,} are read")
    schema = parquet.schema_arrow
    for name, kind in COLUMNS.items():
        if schema.names.count(name) != 1:
            raise RefusedError(f"it needs one column {name!r}. The columns are those of posttrain's samples.parquet")
        found = schema.field(name).type
        fits = kinds.is_string(found) or kinds.is_large_string(found) if kind == "string" else kinds.is_integer(found)
        if not fits:
            raise RefusedError(f"its column {name!r} holds {found}, not {kind}s")
    for name in ("question", "finish_reason"):
        if name in schema.names and not kinds.is_string(schema.field(name).type):
            raise RefusedError(f"its column {name!r} holds {schema.field(name).type}, not strings")


def _write(batch: Any, names: list[str], limits: dict[str, int], left: int) -> int:
    """Writes a batch and returns how many characters of text it had."""
    if batch.nbytes > 8 * left + (64 << 20):
        raise RefusedError(f"its answers have more than {limits['total']:,} characters in all")
    columns = {name: batch.column(names.index(name)) for name in names}
    tokens = columns.get("token_ids")
    counts = tokens.value_lengths().to_pylist() if tokens is not None and hasattr(tokens, "value_lengths") else None
    values = {name: column.to_pylist() for name, column in columns.items() if name != "token_ids"}
    used = 0
    for i in range(batch.num_rows):
        row = {name: column[i] for name, column in values.items()}
        if row["problem_id"] is None or row["index"] is None or row["response"] is None:
            raise RefusedError("it has an answer without problem_id, index or response")
        length = len(row["response"])
        used += length + len(row.get("question") or "")
        if length > limits["text"]:
            raise RefusedError(f"it has an answer of {length:,} characters; at most {limits['text']:,} are read")
        if counts is not None and (counts[i] or 0) > limits["text"]:
            raise RefusedError(f"it has an answer of {counts[i]:,} tokens; at most {limits['text']:,} are read")
        if used > left:
            raise RefusedError(f"its answers have more than {limits['total']:,} characters in all")
        cut = row.get("finish_reason") == "length"
        line = [row["problem_id"], row["index"], row.get("question") or "", row["response"], cut, counts and counts[i]]
        print(json.dumps(line))
    return used


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]), json.loads(sys.argv[2]))
    except RefusedError as refused:
        print(refused, file=sys.stderr)
        sys.exit(3)
