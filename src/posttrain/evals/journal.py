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
        header = json.dumps({"key": key}) + "\n"
        whole = self._read(header.encode())
        self._file: IO[bytes] = path.open("r+b" if whole else "wb")
        self._file.truncate(whole)
        self._file.seek(whole)
        if not whole:
            self._append(header)

    def _read(self, header: bytes) -> int:
        """Reads the samples of an earlier attempt; returns how many bytes of it are whole lines (0: start anew)."""
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return 0
        if not content.startswith(header):
            return 0
        whole = content.rfind(b"\n") + 1
        for line in content[len(header) : whole].splitlines():
            sample = _from_row(json.loads(line))
            self.samples[sample.key] = sample
        return whole

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
