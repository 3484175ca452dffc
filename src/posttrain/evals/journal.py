"""An append-only journal of finished samples: what an interrupted evaluation keeps.

The first line says what the samples were made from; a journal made from something else is not continued. Every sample
is one line, written and flushed when it finishes, so a process killed at any moment loses none that it finished; a
torn last line is cut off before anything is appended.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import IO, Any

from posttrain.errors import StoreError
from posttrain.records import Sample, Verdict


class Journal:
    """Samples by (problem id, index). Use as a context manager."""

    def __init__(self, path: Path, key: str) -> None:
        self.path = path
        self.samples: dict[tuple[str, int], Sample] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        header = _header(key)
        whole, kept = _read(path, header.encode())
        self.samples.update((sample.key, sample) for sample in kept)
        self._file: IO[bytes] = path.open("r+b" if whole else "wb")
        self._file.truncate(whole)
        self._file.seek(whole)
        if not whole:
            self._append(header)

    def add(self, sample: Sample) -> None:
        """Keeps a sample; one that is there already is left as it is."""
        if sample.key in self.samples:
            return
        self._append(json.dumps(_to_row(sample), ensure_ascii=False, separators=(",", ":")) + "\n")
        self.samples[sample.key] = sample

    def _append(self, line: str) -> None:
        try:
            self._file.write(line.encode("utf-8", errors="surrogatepass"))
            self._file.flush()
        except OSError as error:
            raise StoreError(
                f"can't write {self.path}: {error.strerror}. What was finished is kept: free some space and run again."
            ) from error

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def read_journal(path: Path, key: str) -> list[Sample]:
    """The samples of a journal that nobody writes now; none where it is of something else or is not there."""
    return _read(path, _header(key).encode())[1]


def _header(key: str) -> str:
    return json.dumps({"key": key}) + "\n"


def _read(path: Path, header: bytes) -> tuple[int, list[Sample]]:
    """How many bytes of a journal are whole lines (0: start anew), and the samples in them."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return 0, []
    if not content.startswith(header):
        return 0, []
    whole = content.rfind(b"\n") + 1
    return whole, [_from_row(json.loads(line)) for line in content[len(header) : whole].splitlines()]


def _to_row(sample: Sample) -> dict[str, Any]:
    row = {f.name: getattr(sample, f.name) for f in dataclasses.fields(sample) if f.name != "verdict"}
    row = {k: v for k, v in row.items() if v is not None and v != {}}
    if sample.verdict is not None:
        row["verdict"] = dataclasses.asdict(sample.verdict)
    return row


def _from_row(row: dict[str, Any]) -> Sample:
    verdict = row.pop("verdict", None)
    for name in ("token_ids", "logprobs", "prompt_ids"):
        if row.get(name) is not None:
            row[name] = tuple(row[name])
    return Sample(**row, verdict=Verdict(**verdict) if verdict else None)
