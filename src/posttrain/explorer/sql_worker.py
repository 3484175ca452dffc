"""The process in which a person's SQL runs: DuckDB over the Parquet files of a folder, and nothing else.

Started by path, without posttrain: reads one JSON request from stdin and writes one JSON answer to stdout. It may not
write files (the kernel's limit is 0 bytes), opens only the files that it was given, and takes one SELECT.
"""

from __future__ import annotations

import contextlib
import json
import math
import sys
from typing import Any

CELL = 2_000  # characters of one value


def main() -> None:
    engine = duckdb_or_none()  # before there is anything to ask: a process that waits has done it already
    request = json.load(sys.stdin)
    if engine is None:
        answer: dict[str, Any] = {"missing": "duckdb"}
    else:
        with contextlib.suppress(ImportError, ValueError, OSError):  # not on every system
            import resource

            resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        try:
            answer = ask(engine, request)
        except engine.Error as error:
            answer = {"error": str(error)}
    json.dump(answer, sys.stdout)


def duckdb_or_none() -> Any:
    try:
        import duckdb
    except ImportError:
        return None
    return duckdb


def ask(duckdb: Any, request: dict[str, Any]) -> dict[str, Any]:
    """{columns, types, rows, more}: at most request["rows"] rows."""
    db = duckdb.connect(":memory:")
    for setting, value in request["settings"].items():
        db.execute(f"SET {setting} = {value}")
    paths = [p for one in request["sets"] for p in (one["samples"], one["verdicts"]) if p]
    allowed = dict.fromkeys([*paths, *map(pattern, paths)])  # what is asked for is looked up before it is expanded
    db.execute("SET allowed_paths = [" + ",".join(map(quoted, allowed)) + "]")
    db.execute("SET enable_external_access = false")
    create_views(db, request["sets"])
    db.execute("SET lock_configuration = true")
    statements = db.extract_statements(request["sql"])
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        return {"error": "One SELECT at a time, please: this is for reading."}
    found = db.execute(statements[0])
    columns = [str(d[0]) for d in found.description]
    types = [str(d[1]) for d in found.description]
    rows = found.fetchmany(request["rows"] + 1)
    shown = [[cell(v) for v in row] for row in rows[: request["rows"]]]
    return {"columns": columns, "types": types, "rows": shown, "more": len(rows) > request["rows"]}


def create_views(db: Any, sets: list[dict[str, Any]]) -> None:
    """`files`: the sets. `samples`: every sample with its set, its verdict and the number of its tokens."""
    db.execute(
        "CREATE TABLE files(file VARCHAR, verdict_file VARCHAR, set_name VARCHAR, artifact VARCHAR, kind VARCHAR, "
        "model VARCHAR, benchmark VARCHAR, set_step BIGINT)"
    )
    keys = ("samples", "verdicts", "name", "artifact", "kind", "label", "benchmark", "step")
    db.executemany("INSERT INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?)", [[s[k] for k in keys] for s in sets])
    samples = ",".join(quoted(pattern(s["samples"])) for s in sets)
    verdicts = ",".join(quoted(pattern(s["verdicts"])) for s in sets if s["verdicts"])
    graded = (
        f"SELECT * FROM read_parquet([{verdicts}], union_by_name = true, filename = true)"
        if verdicts
        else "SELECT NULL AS problem_id, NULL AS \"index\", NULL AS correct, NULL AS format_ok, NULL AS extracted, "
        "NULL AS reason, NULL AS filename WHERE false"
    )  # fmt: skip
    db.execute(
        f"""CREATE VIEW samples AS
        SELECT f.set_name, f.artifact, f.kind, f.model, f.benchmark, coalesce(s.step, f.set_step) AS step,
          s.problem_id, s."index", s.question, s.response, s.gold, v.correct, v.format_ok, v.extracted, v.reason,
          s.finish_reason, len(s.token_ids) AS tokens, s.reward, s.advantage, s.token_ids, s.logprobs, s.extra
        FROM read_parquet([{samples}], union_by_name = true, filename = true) s
        JOIN files f ON f.file = s.filename
        LEFT JOIN ({graded}) v
          ON v.filename = f.verdict_file AND v.problem_id = s.problem_id AND v."index" = s."index" """
    )


def pattern(path: str) -> str:
    """The path as a glob that matches only itself."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in path)


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def cell(value: Any) -> Any:
    """A value as JSON has it: numbers and truth values as they are, everything else as a bounded text."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    text = value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)
    return text if len(text) <= CELL else text[:CELL] + "…"


if __name__ == "__main__":
    main()
