"""Rows of a sample set, whatever wrote them. Text that is not UTF-8 is read with marks in place of what is broken."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from posttrain.errors import DamagedError
from posttrain.explorer.library import SampleSet
from posttrain.explorer.text import clean
from posttrain.records import FinishReason, Sample, Verdict

if TYPE_CHECKING:
    import pyarrow as pa

BATCH = 1024
TEXTS = ("problem_id", "question", "response", "gold", "source", "finish_reason", "extra")
NUMBERS = ("index", "step", "reward", "advantage")
LISTS = ("token_ids", "logprobs")
Ids = NDArray[np.int32]
Floats = NDArray[np.float32]
Key = tuple[str, int]


@dataclass(slots=True)
class Row:
    """One sample. tokens: how many, where known; token_ids, logprobs, entropy: [tokens], where they were kept."""

    problem: str
    index: int
    question: str
    response: str
    gold: str | None = None
    source: str = ""
    finish: str | None = None
    step: int | None = None
    reward: float | None = None
    advantage: float | None = None
    verdict: Verdict | None = None
    tokens: int | None = None
    token_ids: Ids | None = None
    logprobs: Floats | None = None
    entropy: Floats | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def sample(self) -> Sample:
        """The record of the house, for what compares and counts; without its tokens."""
        return Sample(
            self.problem,
            self.index,
            self.question,
            self.response,
            self.source,
            self.gold,
            finish_reason=cast("FinishReason | None", self.finish),
            verdict=self.verdict,
            reward=self.reward,
            advantage=self.advantage,
            step=self.step,
            extra=self.extra,
        )


def rows(found: SampleSet, problem: str | None = None) -> Iterator[Row]:
    """All samples of the set in file order, or those of one problem. DamagedError where a file can't be read."""
    if found.journal is not None:
        for line in found.journal.rows(found.step or 0):
            row = _of_line(line)
            if row is not None and (problem is None or row.problem == problem):
                yield row
        return
    assert found.folder is not None
    verdicts = _verdicts(found.folder / "verdicts.parquet", problem)
    entropy = _entropy(found.folder / "tokens.parquet", problem)
    for row in _generations(found.folder / "samples.parquet", problem):
        key = (row.problem, row.index)
        row.verdict = verdicts.get(key)
        told = entropy.get(key)
        if told is not None and row.token_ids is not None and told[1].size == row.token_ids.size:
            row.entropy = told[1]
            row.logprobs = row.logprobs if row.logprobs is not None else told[0]
        yield row


def _of_line(line: Mapping[str, Any]) -> Row | None:
    """A row of validation.jsonl; None where the needed columns are missing."""
    texts = {k: line.get(k) for k in ("problem_id", "question", "response")}
    if not all(isinstance(v, str) for v in texts.values()):
        return None
    correct = line.get("correct")
    extracted = line.get("extracted")
    tokens = line.get("tokens")
    return Row(
        clean(str(texts["problem_id"])),
        int(line.get("index") or 0),
        clean(str(texts["question"])),
        clean(str(texts["response"])),
        clean(str(line["gold"])) if line.get("gold") is not None else None,
        finish="length" if line.get("truncated") else "stop",
        step=line.get("step"),
        verdict=Verdict(
            correct if isinstance(correct, bool) else None,
            extracted is not None,
            clean(str(extracted)) if extracted is not None else None,
            clean(str(line.get("reason") or "")),
        ),
        tokens=tokens if isinstance(tokens, int) else None,
    )


def _generations(path: Path, problem: str | None) -> Iterator[Row]:
    names = [*TEXTS, *NUMBERS, *LISTS]
    for batch in _batches(path, names, problem):
        have = set(batch.schema.names)
        texts = {n: _texts(batch.column(n)) for n in TEXTS if n in have}
        numbers = {n: batch.column(n).to_pylist() for n in NUMBERS if n in have}
        lists = {n: _lists(batch.column(n)) for n in LISTS if n in have}
        nothing: list[Any] = [None] * batch.num_rows
        for i in range(batch.num_rows):
            ids = lists.get("token_ids", nothing)[i]
            logprobs = lists.get("logprobs", nothing)[i]
            yield Row(
                texts["problem_id"][i] or "",
                numbers["index"][i] or 0,
                texts["question"][i] or "",
                texts["response"][i] or "",
                texts.get("gold", nothing)[i],
                texts.get("source", nothing)[i] or "",
                texts.get("finish_reason", nothing)[i],
                numbers.get("step", nothing)[i],
                numbers.get("reward", nothing)[i],
                numbers.get("advantage", nothing)[i],
                tokens=ids.size if ids is not None else None,
                token_ids=ids,
                logprobs=logprobs if logprobs is not None and ids is not None and logprobs.size == ids.size else None,
                extra=_extra(texts.get("extra", nothing)[i]),
            )


def _batches(path: Path, columns: list[str], problem: str | None) -> Iterator[pa.RecordBatch]:
    """Record batches of the columns that are there; one problem's rows only, where one is named."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            missing = {"problem_id", "index"} - set(file.schema_arrow.names)
            if missing:
                raise DamagedError(f"{path} has no column {min(missing)!r}: it holds no samples. Make its stage again.")
            wanted = [c for c in columns if c in file.schema_arrow.names]
            for batch in file.iter_batches(BATCH if problem is None else 65_536, columns=wanted):
                yield batch if problem is None else batch.filter(pc.equal(batch.column("problem_id"), problem))
    except (pa.ArrowException, OSError, EOFError) as error:
        if isinstance(error, DamagedError):
            raise
        raise DamagedError(f"{path} can't be read ({error}). Put the file back, or make its stage again.") from error


def read_columns(path: Path, columns: list[str]) -> pa.Table:
    """Those of the columns that are there. DamagedError where the file can't be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            return file.read(columns=[c for c in columns if c in file.schema_arrow.names])
    except (pa.ArrowException, OSError, EOFError) as error:
        raise DamagedError(f"{path} can't be read ({error}). Put the file back, or make its stage again.") from error


def _texts(column: pa.Array) -> list[str | None]:
    """Strings; bytes that are no UTF-8 become U+FFFD (Arrow itself would raise)."""
    import pyarrow as pa

    raw: list[bytes | None] = column.cast(pa.binary()).to_pylist()
    return [None if b is None else b.decode("utf-8", errors="replace") for b in raw]


def _lists(column: pa.Array) -> list[NDArray[Any] | None]:
    """The inner arrays of a list column, without a Python object for every number."""
    values = column.flatten().to_numpy(zero_copy_only=False)
    found: list[NDArray[Any] | None] = []
    at = 0
    for size in column.value_lengths().to_pylist():
        found.append(None if size is None else values[at : at + size])
        at += size or 0
    return found


def _verdicts(path: Path, problem: str | None) -> dict[Key, Verdict]:
    """Empty where nothing was graded."""
    if not path.is_file():
        return {}
    found: dict[Key, Verdict] = {}
    for batch in _batches(path, ["problem_id", "index", "correct", "format_ok", "extracted", "reason"], problem):
        columns = {n: batch.column(n) for n in batch.schema.names}
        nothing: list[Any] = [None] * batch.num_rows
        texts = {n: _texts(columns[n]) if n in columns else nothing for n in ("problem_id", "extracted", "reason")}
        plain = {n: columns[n].to_pylist() if n in columns else nothing for n in ("index", "correct", "format_ok")}
        for i in range(batch.num_rows):
            found[texts["problem_id"][i] or "", plain["index"][i] or 0] = Verdict(
                plain["correct"][i], bool(plain["format_ok"][i]), texts["extracted"][i], texts["reason"][i] or ""
            )
    return found


def _entropy(path: Path, problem: str | None) -> dict[Key, tuple[Floats, Floats]]:
    """(log-probabilities, entropies) of the rollouts whose tokens the trainer kept."""
    if not path.is_file():
        return {}
    found: dict[Key, tuple[Floats, Floats]] = {}
    for batch in _batches(path, ["problem_id", "index", "logprobs", "entropy"], problem):
        if "entropy" not in batch.schema.names or "logprobs" not in batch.schema.names:
            return {}
        keys = zip(_texts(batch.column("problem_id")), batch.column("index").to_pylist(), strict=True)
        numbers = zip(_lists(batch.column("logprobs")), _lists(batch.column("entropy")), strict=True)
        for (name, index), (logprobs, entropy) in zip(keys, numbers, strict=True):
            if logprobs is not None and entropy is not None:
                found[name or "", index or 0] = (logprobs, entropy)
    return found


def _extra(text: str | None) -> Mapping[str, Any]:
    if not text:
        return {}
    try:
        read = json.loads(text)
    except ValueError:
        return {}
    return read if isinstance(read, dict) else {}
