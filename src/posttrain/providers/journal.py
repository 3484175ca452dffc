"""The journal: every request that was sent and every reply as it came, one JSON object per line, appended and never
changed.

    {"record": "intent", "key": …, "sample": 0, "attempt": 1, "at": 1731…, "teacher": …, "worst": 0.0012}
    {"record": "reply",  "key": …, …, "status": 200, "seconds": …, "body": "…"}
    {"record": "error",  "key": …, …, "why": …, "doubt": true}

A reply is kept under its key, the last one counts. An error after a reply of the same key says that the reply was of no
use, and the key is asked again. `doubt`: nobody knows whether the provider charges for that request.

What survives what: an intent is handed to the kernel before its request leaves, so it survives any death of the
process; a reply is on the disk (fdatasync) before it is parsed and before its place is given to the next request, so
it survives the loss of power too. A line without its end was being written when the process died: it is dropped, and
its key asked again.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from posttrain.errors import DamagedError, LockedError, StoreError
from posttrain.providers.ballast import Ballast
from posttrain.store.atomic import FULL, sync_folder

HEAD = b'{"record": "posttrain journal", "version": 1}\n'


class Journal:
    """One file, one writer at a time. Use as a context manager.

    `append` is called from one thread at a time; `__contains__` and `read` may be called from another. LockedError
    while another process writes it, StoreError where it can't be written, DamagedError where it is no journal.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.open_intents: dict[bytes, float | None] = {}  # key → its worst cost; sent by others, and never heard of
        self.doubted: list[float | None] = []  # worst costs of requests that ended in doubt
        self._places: dict[bytes, tuple[int, int]] = {}  # key → offset and length of its reply
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StoreError(f"can't write {path}: {error.strerror}. Choose another folder.") from error
        try:
            self._lock()
            self.ballast = Ballast(path.with_name(f".{path.name}.reserve"))
            self._size = self._scan()
        except BaseException:
            os.close(self._file)
            raise

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LockedError(
                f"{self.path} is being written by another process. Wait for it, stop it, or use another journal."
            ) from None

    def _scan(self) -> int:
        """Reads what is there; returns how many bytes of it are whole lines, and cuts the rest off."""
        with open(self.path, "rb") as file:
            first = file.readline()
            if not first.endswith(b"\n"):
                if not HEAD.startswith(first):
                    raise DamagedError(f"{self.path} is not a journal of replies. Choose another name for the journal.")
                return self._begin()
            if first != HEAD:
                raise DamagedError(f"{self.path} is not a journal of replies. Choose another name for the journal.")
            place = len(first)
            for number, line in enumerate(file, start=2):
                if not line.endswith(b"\n"):
                    break
                self._note(line, place, number)
                place += len(line)
        os.ftruncate(self._file, place)
        return place

    def _begin(self) -> int:
        os.ftruncate(self._file, 0)
        self._size = 0
        self.append([HEAD], sync=True)
        sync_folder(self.path.parent)
        return len(HEAD)

    def _note(self, line: bytes, place: int, number: int) -> None:
        try:
            record = json.loads(line)
            kind, key = record["record"], bytes.fromhex(record["key"])
        except (ValueError, KeyError, TypeError):
            raise DamagedError(
                f"line {number} of {self.path} is damaged. Remove that line: its request is asked again, and the "
                "others stay."
            ) from None
        if kind == "intent":
            if key in self.open_intents:
                self.doubted.append(self.open_intents[key])
            self.open_intents[key] = record.get("worst")
            return
        worst = self.open_intents.pop(key, None)
        if kind == "reply":
            self._places[key] = (place, len(line))
        elif kind == "error":
            self._places.pop(key, None)
            if record.get("doubt"):
                self.doubted.append(worst)

    def append(self, lines: Sequence[bytes], *, sync: bool) -> list[int]:
        """Writes whole lines and returns their offsets; sync: they are on the disk when this returns.

        When the disk is full the reserve is given up, which ends the sending, and the lines are written into its place.
        StoreError where even that fails: nothing half-written stays.
        """
        data = b"".join(lines)
        try:
            self._write(data, sync)
        except OSError as error:
            if error.errno not in FULL or not self.ballast.release():
                raise self._unwritable(error) from error
            try:
                self._write(data, sync)
            except OSError as again:
                raise self._unwritable(again) from again
        offsets = []
        for line in lines:
            offsets.append(self._size)
            self._size += len(line)
        return offsets

    def _write(self, data: bytes, sync: bool) -> None:
        try:
            done = 0
            while done < len(data):
                done += os.pwrite(self._file, data[done:], self._size + done)
            if sync:
                os.fdatasync(self._file)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._size)
            raise

    def _unwritable(self, error: OSError) -> StoreError:
        return StoreError(
            f"can't write {self.path}: {error.strerror}. Everything before is kept, and nothing more was sent: free "
            "some space and run the same command again."
        )

    def add(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Appends records (of `intent`, `reply`, `error`) durably and takes note of them."""
        lines = [encode(record) for record in records]
        for line, place in zip(lines, self.append(lines, sync=True), strict=True):
            self._note(line, place, 0)

    def keep(self, key: str, place: int, length: int) -> None:
        """The reply under `key` stands at `place` now."""
        self._places[bytes.fromhex(key)] = (place, length)

    def forget(self, key: str) -> None:
        """The reply under `key` was of no use."""
        self._places.pop(bytes.fromhex(key), None)

    def __contains__(self, key: str) -> bool:
        return bytes.fromhex(key) in self._places

    def __len__(self) -> int:
        return len(self._places)

    def read(self, key: str) -> dict[str, Any]:
        """The record of the reply under `key`. KeyError where there is none."""
        return self._at(*self._places[bytes.fromhex(key)])

    def replies(self) -> Iterator[dict[str, Any]]:
        """The records of all replies that count, in the order of their first coming."""
        for place, length in list(self._places.values()):
            yield self._at(place, length)

    def _at(self, place: int, length: int) -> dict[str, Any]:
        record: dict[str, Any] = json.loads(os.pread(self._file, length, place))
        return record

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ballast.release()
        os.close(self._file)


def encode(record: Mapping[str, Any]) -> bytes:
    """A record as a line."""
    return json.dumps(record, ensure_ascii=True, separators=(",", ":")).encode("ascii") + b"\n"


def intent(key: str, sample: int, attempt: int, teacher: str, at: float, worst: float | None) -> dict[str, Any]:
    """Written before a request leaves. at: seconds since 1970."""
    head = {"record": "intent", "key": key, "sample": sample, "attempt": attempt, "at": round(at, 3)}
    return {**head, "teacher": teacher, "worst": worst}


def reply(
    key: str, sample: int, attempt: int, teacher: str, at: float, *, status: int, seconds: float, body: str, **more: Any
) -> dict[str, Any]:
    """A reply as it came. body: its text, as `body_fields` gives it; more: `batch`, `charset`, `body64` …"""
    head = {"record": "reply", "key": key, "sample": sample, "attempt": attempt, "at": round(at, 3), "teacher": teacher}
    return {**head, "status": status, "seconds": round(seconds, 3), "body": body, **more}


def error(
    key: str, sample: int, attempt: int, teacher: str, at: float, *, why: str, doubt: bool, status: int | None = None
) -> dict[str, Any]:
    """A request that brought no reply, or one of no use."""
    head = {"record": "error", "key": key, "sample": sample, "attempt": attempt, "at": round(at, 3), "teacher": teacher}
    return {**head, "status": status, "why": why, "doubt": doubt}


def body_fields(data: bytes, charset: str | None) -> dict[str, Any]:
    """The body for a record: as text where it is UTF-8, else as base64 beside the encoding that the server named."""
    try:
        return {"body": data.decode("utf-8")}
    except UnicodeDecodeError:
        return {"body": None, "body64": base64.b64encode(data).decode("ascii"), "charset": charset}
