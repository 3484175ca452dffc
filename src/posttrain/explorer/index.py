"""The index: an SQLite file beside the artifacts (`.explorer/index.sqlite`), made once and brought up to date.

It holds every sample of the folder, compressed, findable by problem and by full text (FTS5). Whatever it says can be
made again from the artifacts; nobody's manifest knows of it.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from posttrain.errors import DamagedError
from posttrain.explorer.library import SampleSet
from posttrain.explorer.reading import Row, rows
from posttrain.records import Verdict

VERSION = "1"
COMMIT = 2_000  # rows between two commits: what a reader sees grows in such steps
INDEXED = 200_000  # characters of a response that can be searched
BUDGET = 2.0  # seconds after which a search gives what it has found
TOLD = 10_000  # matches are counted up to here
VERDICTS = {True: "vright", False: "vwrong", None: "vopen"}

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta(key TEXT PRIMARY KEY, value TEXT);
CREATE TABLE IF NOT EXISTS shelf(id INTEGER PRIMARY KEY, name TEXT UNIQUE, stamp TEXT, first INTEGER, last INTEGER,
  rows INTEGER, whole INTEGER);
CREATE TABLE IF NOT EXISTS question(id INTEGER PRIMARY KEY, hash BLOB UNIQUE, problem TEXT, question TEXT, gold TEXT);
CREATE TABLE IF NOT EXISTS doc(id INTEGER PRIMARY KEY, shelf INTEGER, question INTEGER, problem TEXT, facts TEXT,
  body BLOB, tokens BLOB);
CREATE INDEX IF NOT EXISTS doc_problem ON doc(problem, shelf);
CREATE VIRTUAL TABLE IF NOT EXISTS said USING fts5(body, verdict, content='', columnsize=0,
  tokenize="unicode61 remove_diacritics 2");
CREATE VIRTUAL TABLE IF NOT EXISTS asked USING fts5(body, content='', columnsize=0,
  tokenize="unicode61 remove_diacritics 2");
"""


@dataclass(frozen=True)
class Hits:
    """docs: (set name, row). count: matches, of which there are more where `capped`. late: time ran out."""

    docs: list[tuple[str, Row]]
    count: int
    capped: bool
    late: bool


@dataclass(frozen=True)
class Progress:
    """How far the index is: rows in it, and sets that wait."""

    rows: int
    sets: int
    waiting: int
    trouble: tuple[str, ...] = ()


class Index:
    """Readers open it anew for every question; one writer at a time brings it up to date (`update`)."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "index.sqlite"

    def create(self) -> None:
        """The empty tables; an index of another version is thrown away first."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.reading() as db:
            usable = db is not None
        if not usable:
            for path in self.path.parent.glob("index.sqlite*"):
                path.unlink()
        with closing(self._open(write=True)) as db:
            db.executescript(_SCHEMA)
            db.execute("INSERT OR REPLACE INTO meta VALUES('version', ?)", (VERSION,))

    def _open(self, *, write: bool = False) -> sqlite3.Connection:
        mode = "rwc" if write else "ro"
        address = f"{self.path.resolve().as_uri()}?mode={mode}"
        db = sqlite3.connect(address, uri=True, isolation_level=None, timeout=5, check_same_thread=False)
        if write:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=OFF")  # it can be made again
        db.execute("PRAGMA cache_size=-16000")
        return db

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection | None]:
        """A connection, or None where there is no index yet."""
        try:
            db = self._open() if self.path.exists() else None
        except sqlite3.DatabaseError:  # it is none, or is just being made
            db = None
        if db is None:
            yield None
            return
        with closing(db):
            yield db if _ready(db) else None

    # -- bringing it up to date ---------------------------------------------------------------------------------------

    def stale(self, sets: Sequence[SampleSet]) -> list[SampleSet]:
        """Sets that it lacks, or has from files that have changed since."""
        known = self._stamps()
        return [s for s in sets if known.get(s.name) != s.stamp]

    def _stamps(self) -> dict[str, str]:
        with self.reading() as db:
            if db is None:
                return {}
            return dict(db.execute("SELECT name, stamp FROM shelf WHERE whole = 1"))

    def update(self, sets: Sequence[SampleSet], stop: Callable[[], bool] = lambda: False) -> list[str]:
        """Adds what is new, replaces what changed, drops what is gone. What can't be read is named in the answer."""
        trouble: list[str] = []
        with closing(self._open(write=True)) as db:
            db.execute("INSERT INTO said(said, rank) VALUES('hashsize', 33554432)")
            gone = {name for (name,) in db.execute("SELECT name FROM shelf")} - {s.name for s in sets}
            for name in gone:
                _drop(db, name)
            for one in self.stale(sets):
                if stop():
                    break
                try:
                    self._add(db, one, stop)
                except DamagedError as error:
                    trouble.append(str(error))
        return trouble

    def _add(self, db: sqlite3.Connection, one: SampleSet, stop: Callable[[], bool]) -> None:
        """One set, committed every 2,000 rows; an interrupted one is dropped at the next attempt."""
        _drop(db, one.name)
        first = (db.execute("SELECT max(id) FROM doc").fetchone()[0] or 0) + 1
        db.execute(
            "INSERT INTO shelf(name, stamp, first, last, rows, whole) VALUES(?, ?, ?, ?, 0, 0)",
            (one.name, one.stamp, first, first - 1),
        )
        shelf = int(db.execute("SELECT id FROM shelf WHERE name = ?", (one.name,)).fetchone()[0])
        questions: dict[bytes, int] = {}
        at = first
        try:
            for batch in _batched(rows(one)):
                if stop():
                    return
                _write(db, batch, shelf, at, questions)
                at += len(batch)
                time.sleep(0.001)  # lets the pages' threads in
        except sqlite3.Error:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        db.execute("UPDATE shelf SET whole = 1 WHERE id = ?", (shelf,))

    # -- reading it ---------------------------------------------------------------------------------------------------

    def progress(self, sets: Sequence[SampleSet]) -> Progress:
        with self.reading() as db:
            count = int(db.execute("SELECT coalesce(sum(rows), 0) FROM shelf").fetchone()[0]) if db else 0
        return Progress(count, len(sets), len(self.stale(sets)))

    def answers(self, sets: Sequence[SampleSet], problem: str) -> dict[str, list[Row]]:
        """The samples of one problem by set name, for the sets that it has whole and up to date."""
        with self.reading() as db:
            if db is None:
                return {}
            known = {
                name: (i, stamp) for i, name, stamp in db.execute("SELECT id, name, stamp FROM shelf WHERE whole = 1")
            }
            wanted = {known[s.name][0]: s.name for s in sets if s.name in known and known[s.name][1] == s.stamp}
            found: dict[str, list[Row]] = {name: [] for name in wanted.values()}
            query = f"{_SELECT} WHERE doc.problem = ? ORDER BY doc.id"
            for record in db.execute(query, (problem,)):
                if record[0] in wanted:
                    found[wanted[record[0]]].append(_row(record))
        return found

    def search(
        self, match: str, names: Sequence[str] | None, verdict: str | None, limit: int = 50, after: int = 0
    ) -> Hits:
        """Samples that match, in the order of the sets; `after`: how many to pass over.

        names: only these sets. verdict: `vright`, `vwrong` or `vopen`.
        """
        if verdict is not None:
            match = f"body : ({match}) AND verdict : {verdict}"
        else:
            match = f"body : ({match})"
        with self.reading() as db:
            if db is None:
                return Hits([], 0, False, False)
            shelves = {i: (name, a, b) for i, name, a, b in db.execute("SELECT id, name, first, last FROM shelf")}
            end = time.monotonic() + BUDGET
            db.set_progress_handler(lambda: time.monotonic() > end, 20_000)
            ranges = _ranges([(a, b) for name, a, b in shelves.values() if names is None or name in names])
            ids: list[int] = []
            late = False
            try:
                for low, high in ranges:
                    query = "SELECT rowid FROM said WHERE said MATCH ? AND rowid BETWEEN ? AND ? ORDER BY rowid LIMIT ?"
                    wanted = (match, low, high, TOLD + 1 - len(ids))
                    ids.extend(i for (i,) in db.execute(query, wanted))
                    if len(ids) > TOLD:
                        break
            except sqlite3.OperationalError:  # interrupted: time has run out
                late = True
            db.set_progress_handler(None, 0)
            shown = ids[after : after + limit]
            marks = ",".join("?" * len(shown))
            records = db.execute(f"{_SELECT} WHERE doc.id IN ({marks}) ORDER BY doc.id", shown).fetchall()
        docs = [(shelves[r[0]][0], _row(r)) for r in records]
        return Hits(docs, min(len(ids), TOLD), len(ids) > TOLD, late)

    def questions(self, match: str, limit: int = 20) -> list[tuple[str, str, str | None]]:
        """(problem id, question, gold) of questions that match."""
        with self.reading() as db:
            if db is None:
                return []
            end = time.monotonic() + BUDGET
            db.set_progress_handler(lambda: time.monotonic() > end, 20_000)
            query = (
                "SELECT problem, question, gold FROM question WHERE id IN "
                "(SELECT rowid FROM asked WHERE asked MATCH ? ORDER BY rowid LIMIT ?)"
            )
            try:
                return [(p, q, g) for p, q, g in db.execute(query, (match, limit))]
            except sqlite3.OperationalError:
                return []


def _ready(db: sqlite3.Connection) -> bool:
    """The version is written last: without it, another process is about to make the tables."""
    try:
        return bool(db.execute("SELECT value FROM meta WHERE key = 'version'").fetchone() == (VERSION,))
    except sqlite3.DatabaseError:
        return False


_SELECT = (
    "SELECT doc.shelf, doc.problem, doc.facts, doc.body, doc.tokens, question.question, question.gold "
    "FROM doc JOIN question ON question.id = doc.question"
)


def _ranges(found: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Neighbouring ranges of ids joined."""
    joined: list[tuple[int, int]] = []
    for low, high in sorted(r for r in found if r[1] >= r[0]):
        if joined and joined[-1][1] + 1 == low:
            joined[-1] = (joined[-1][0], high)
        else:
            joined.append((low, high))
    return joined


def _batched(found: Iterator[Row]) -> Iterator[list[Row]]:
    batch: list[Row] = []
    for row in found:
        batch.append(row)
        if len(batch) == COMMIT:
            yield batch
            batch = []
    if batch:
        yield batch


def _write(db: sqlite3.Connection, batch: list[Row], shelf: int, at: int, questions: dict[bytes, int]) -> None:
    db.execute("BEGIN")
    docs = []
    texts = []
    for place, row in enumerate(batch, at):
        docs.append(
            (
                place,
                shelf,
                _question(db, row, questions),
                row.problem,
                _facts(row),
                zlib.compress(row.response.encode(), 1),
                _tokens(row),
            )
        )
        texts.append((place, row.response[:INDEXED], _said(row.verdict)))
    db.executemany("INSERT INTO doc VALUES(?, ?, ?, ?, ?, ?, ?)", docs)
    db.executemany("INSERT INTO said(rowid, body, verdict) VALUES(?, ?, ?)", texts)
    last = at + len(batch) - 1
    db.execute("UPDATE shelf SET last = ?, rows = rows + ? WHERE id = ?", (last, len(batch), shelf))
    db.execute("COMMIT")


def _question(db: sqlite3.Connection, row: Row, known: dict[bytes, int]) -> int:
    """The id of a question, added with the first sample of it."""
    written = json.dumps([row.problem, row.question, row.gold]).encode()
    key = hashlib.blake2b(written, digest_size=16).digest()
    if key in known:
        return known[key]
    found = db.execute("SELECT id FROM question WHERE hash = ?", (key,)).fetchone()
    if found is None:
        added = db.execute(
            "INSERT INTO question(hash, problem, question, gold) VALUES(?, ?, ?, ?)",
            (key, row.problem, row.question, row.gold),
        )
        known[key] = int(added.lastrowid or 0)
        db.execute("INSERT INTO asked(rowid, body) VALUES(?, ?)", (known[key], row.question[:INDEXED]))
    else:
        known[key] = int(found[0])
    return known[key]


def _said(verdict: Verdict | None) -> str:
    return "vnone" if verdict is None else VERDICTS[verdict.correct]


def _drop(db: sqlite3.Connection, name: str) -> None:
    """Takes a set out. FTS5 without contents is told what each row held."""
    found = db.execute("SELECT id FROM shelf WHERE name = ?", (name,)).fetchone()
    if found is None:
        return
    db.execute("BEGIN")
    for record in db.execute(f"{_SELECT.replace('SELECT ', 'SELECT doc.id, ', 1)} WHERE doc.shelf = ?", found):
        row = _row(record[1:])
        db.execute(
            "INSERT INTO said(said, rowid, body, verdict) VALUES('delete', ?, ?, ?)",
            (record[0], row.response[:INDEXED], _said(row.verdict)),
        )
    db.execute("DELETE FROM doc WHERE shelf = ?", found)
    db.execute("DELETE FROM shelf WHERE id = ?", found)
    db.execute("COMMIT")


def _facts(row: Row) -> str:
    v = row.verdict
    verdict = None if v is None else [v.correct, v.format_ok, v.extracted, v.reason]
    return json.dumps([row.index, row.source, row.finish, row.step, row.reward, row.advantage, verdict, row.tokens])


def _tokens(row: Row) -> bytes | None:
    """ids, log-probabilities and entropies, each [tokens] or absent; half precision is enough for a colour."""
    if row.token_ids is None:
        return None
    parts = [row.token_ids.astype("<i4").tobytes()]
    flags = 0
    for bit, values in ((1, row.logprobs), (2, row.entropy)):
        if values is not None:
            flags |= bit
            parts.append(values.astype("<f2").tobytes())
    return bytes([flags]) + zlib.compress(b"".join(parts), 1)


def _row(record: Sequence[Any]) -> Row:
    _, problem, facts, body, tokens, question, gold = record
    index, source, finish, step, reward, advantage, verdict, count = json.loads(facts)
    row = Row(
        problem,
        index,
        question,
        zlib.decompress(body).decode(),
        gold,
        source,
        finish,
        step,
        reward,
        advantage,
        Verdict(*verdict) if verdict else None,
        count,
    )
    if tokens is not None and count is not None:
        raw = zlib.decompress(tokens[1:])
        row.token_ids = np.frombuffer(raw, "<i4", count)
        at = 4 * count
        for bit, name in ((1, "logprobs"), (2, "entropy")):
            if tokens[0] & bit:
                setattr(row, name, np.frombuffer(raw, "<f2", count, at).astype(np.float32))
                at += 2 * count
    return row


def place_of(root: Path) -> Path:
    """Where the index of a folder goes: into it, or into the user's cache where the folder can't be written."""
    if os.access(root, os.W_OK):
        return root / ".explorer"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "posttrain" / "explorer" / hashlib.sha256(str(root).encode()).hexdigest()[:16]
