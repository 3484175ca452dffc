"""SQL over all samples, in a process that ends when its time is up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from posttrain.errors import MissingExtraError
from posttrain.explorer.library import SampleSet

Worker: TypeAlias = "subprocess.Popen[str]"
ROWS = 500  # of an answer
SECONDS = 10.0
LONGEST = 10_000  # characters of a statement
SETTINGS = {
    "memory_limit": "'512MB'",
    "threads": "2",
    "max_temp_directory_size": "'0B'",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
}
EXAMPLES = (
    (
        "Accuracy and length by step",
        "SELECT model, step, avg(correct::INT) AS accuracy, avg(tokens) AS tokens, "
        "count(*) AS n\n"
        "FROM samples WHERE kind = 'answers'\nGROUP BY ALL ORDER BY step",
    ),
    (
        "Why answers fail",
        "SELECT model, step, reason, count(*) AS n\nFROM samples WHERE correct IS NOT TRUE\n"
        "GROUP BY ALL ORDER BY step, n DESC",
    ),
    (
        "The longest wrong answers",
        "SELECT problem_id, model, step, tokens, extracted, gold\nFROM samples "
        "WHERE NOT correct\nORDER BY tokens DESC LIMIT 50",
    ),
)


@dataclass(frozen=True)
class Answer:
    """`error` is DuckDB's, for the person who wrote the statement. more: rows were left out."""

    columns: list[str] = field(default_factory=list)
    numeric: list[bool] = field(default_factory=list)
    rows: list[list[Any]] = field(default_factory=list)
    more: bool = False
    error: str = ""


def ask(
    statement: str, sets: Sequence[SampleSet], seconds: float = SECONDS, start: Callable[[], Worker] | None = None
) -> Answer:
    """The rows of one SELECT over `samples` and `files`. MissingExtraError without DuckDB.

    Only sets that are Parquet files take part: those of a validation.jsonl don't.
    """
    if len(statement) > LONGEST:
        return Answer(error=f"A statement may have {LONGEST:,} characters.")
    files = [_file(s) for s in sets if s.folder is not None]
    if not files:
        return Answer(error="There are no samples here yet.")
    request = json.dumps({"sql": statement, "sets": files, "settings": SETTINGS, "rows": ROWS})
    process = (start or start_worker)()
    try:
        out, _ = process.communicate(request, timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return Answer(error=f"Stopped after {seconds:g} seconds. Ask for less: fewer columns, a WHERE, a LIMIT.")
    return _read(out, process.returncode)


def start_worker() -> Worker:
    """A process that opens DuckDB and waits for one request."""
    environment = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG", "LC_ALL", "SYSTEMROOT")}
    pipe = subprocess.PIPE
    path = Path(__file__).with_name("sql_worker.py")
    return subprocess.Popen(
        [sys.executable, "-I", str(path)], stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment
    )


@dataclass
class Spare:
    """A worker that has started already, for the next statement. wanted: set while pages are served."""

    wanted: bool = False
    _worker: Worker | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self) -> Worker:
        """The one that waits, or a new one."""
        with self._lock:
            worker, self._worker = self._worker, None
        return worker if worker is not None and worker.poll() is None else start_worker()

    def prepare(self) -> None:
        """Starts the next, if one is wanted and none waits."""
        with self._lock:
            if self.wanted and (self._worker is None or self._worker.poll() is not None):
                self._worker = start_worker()

    def close(self) -> None:
        with self._lock:
            self.wanted = False
            worker, self._worker = self._worker, None
        if worker is not None:
            worker.kill()
            worker.communicate()


def _read(out: str, status: int) -> Answer:
    try:
        told = json.loads(out)
    except ValueError:
        return Answer(error=f"The query's process ended (status {status}): most likely it needed too much memory.")
    if told.get("missing"):
        raise MissingExtraError(
            "SQL over samples needs duckdb, which is not installed. Install it: pip install 'posttrain[explore]'."
        )
    if "error" in told:
        return Answer(error=str(told["error"]))
    numeric = [any(w in t.upper() for w in ("INT", "DOUBLE", "FLOAT", "DECIMAL", "NUMBER")) for t in told["types"]]
    return Answer(told["columns"], numeric, told["rows"], told["more"])


def _file(one: SampleSet) -> dict[str, Any]:
    assert one.folder is not None
    verdicts = one.folder / "verdicts.parquet"
    return {
        "samples": str(one.folder / "samples.parquet"),
        "verdicts": str(verdicts) if verdicts.is_file() else None,
        "name": one.name,
        "artifact": one.artifact,
        "kind": one.kind,
        "label": one.label,
        "benchmark": one.benchmark,
        "step": one.step,
    }
