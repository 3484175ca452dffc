"""From artifacts to Rows and back."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from posttrain.curate.rows import Rows
from posttrain.errors import DataError
from posttrain.records import Problem, Verdict, problem_schema, sample_schema, verdict_schema
from posttrain.store import Problems, Samples

if TYPE_CHECKING:
    import pyarrow as pa

    from posttrain.stage import Workspace

FILES = {"samples": "samples.parquet", "problems": "problems.parquet"}


def read_samples(artifacts: Sequence[Samples], problems: Mapping[str, Problem]) -> Rows:
    """The rows of all artifacts, in their order. `problems` by id give subject, level and choices where they know.

    Where two rows have the same problem and index (two teachers' answers to one problem), indices are given anew, so
    that verdicts find their rows.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables, verdicts, datasets = [], [], []
    for artifact in artifacts:
        table = _in_schema(pq.read_table(artifact.path / FILES["samples"]), sample_schema())
        tables.append(table)
        verdicts += _verdicts(artifact, table)
        datasets += [artifact.label] * len(table)
    table = _distinct(pa.concat_tables(tables))
    extras = [json.loads(text) if text else {} for text in table.column("extra").to_pylist()]
    known = [problems.get(id) for id in table.column("problem_id").to_pylist()]
    return Rows(
        kind="samples",
        numbers=np.arange(len(table)),
        ids=table.column("problem_id").to_pylist(),
        questions=table.column("question").to_pylist(),
        responses=table.column("response").to_pylist(),
        golds=table.column("gold").to_pylist(),
        subjects=[p.subject if p else extra.get("subject") for p, extra in zip(known, extras, strict=True)],
        levels=[p.level if p else _whole(extra.get("level")) for p, extra in zip(known, extras, strict=True)],
        splits=[split or "train" for split in table.column("split").to_pylist()],
        cut=[reason == "length" for reason in table.column("finish_reason").to_pylist()],
        datasets=datasets,
        extras=[
            {"choices": list(p.choices), **e} if p and p.choices else e for p, e in zip(known, extras, strict=True)
        ],
        verdicts=verdicts,
        table=table,
    )


def read_problems(artifacts: Sequence[Problems]) -> Rows:
    """The rows of all artifacts, in their order. DataError for an id that two of them have."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = [_in_schema(pq.read_table(a.path / FILES["problems"]), problem_schema()) for a in artifacts]
    table = pa.concat_tables(tables)
    ids = table.column("id").to_pylist()
    twice = next((id for id, count in Counter(ids).items() if count > 1), None)
    if twice is not None and len(artifacts) > 1:
        raise DataError(f"problem id {twice!r} comes twice in what is curated together. Rename it in one of the two.")
    extras = [json.loads(text) if text else {} for text in table.column("extra").to_pylist()]
    choices = table.column("choices").to_pylist()
    return Rows(
        kind="problems",
        numbers=np.arange(len(table)),
        ids=ids,
        questions=table.column("question").to_pylist(),
        responses=[solution or "" for solution in table.column("solution").to_pylist()],
        golds=table.column("answer").to_pylist(),
        subjects=table.column("subject").to_pylist(),
        levels=table.column("level").to_pylist(),
        splits=table.column("split").to_pylist(),
        cut=[False] * len(table),
        datasets=[a.label for a, t in zip(artifacts, tables, strict=True) for _ in range(len(t))],
        extras=[{"choices": c, **extra} if c else extra for c, extra in zip(choices, extras, strict=True)],
        verdicts=[None] * len(table),
        table=table,
    )


def write(rows: Rows, original: Sequence[str], work: Workspace) -> None:
    """The rows as an artifact of their kind. `original`: the responses that they came with, [n].

    A response that a step wrote anew has lost the token ids and log-probabilities of the one before.
    """
    import pyarrow as pa

    changed = [new != old for new, old in zip(rows.responses, original, strict=True)]
    table = rows.table
    if any(changed):
        name = "response" if rows.kind == "samples" else "solution"
        texts = rows.responses if rows.kind == "samples" else [text or None for text in rows.responses]
        table = _with(table, name, pa.array(texts, pa.string()))
        fresh = pa.array([None if new else i for i, new in enumerate(changed)], pa.int64())
        for stale in ("token_ids", "logprobs", "prompt_ids"):
            if stale in table.column_names:
                table = _with(table, stale, table.column(stale).take(fresh))
        if rows.kind == "samples":
            table = _with(table, "extra", pa.array(_turns_follow(table, rows, changed), pa.string()))
    work.write_table(FILES[rows.kind], table)
    judged = [i for i, verdict in enumerate(rows.verdicts) if verdict is not None]
    if rows.kind == "samples" and judged:
        work.write_table("verdicts.parquet", _verdict_table(rows, judged))


def _turns_follow(table: pa.Table, rows: Rows, changed: Sequence[bool]) -> list[str | None]:
    """The `extra` column, in which the last turn of a conversation is the response that was written anew: a trainer
    reads the turns where there are some."""
    extras: list[str | None] = table.column("extra").to_pylist()
    for i, new in enumerate(changed):
        told = json.loads(extras[i] or "{}") if new else {}
        if told.get("messages"):
            told["messages"][-1] = {"role": "assistant", "content": rows.responses[i]}
            extras[i] = json.dumps(told, sort_keys=True, ensure_ascii=False)
    return extras


def apart(rows: Rows, split: str | None) -> tuple[Rows, NDArray[np.bool_]]:
    """(the rows of a split, their mask among all). None: every row. DataError for a split that no row is in."""
    mask = np.array([split is None or s == split for s in rows.splits], dtype=np.bool_)
    if not mask.any():
        present = ", ".join(sorted(set(rows.splits))) or "no rows"
        raise DataError(f"no row is in split {split!r}; there is {present}. Set split: to one of these, or to null.")
    return rows.take(mask), mask


def _in_schema(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The house's columns in their order and types; a column that an older file lacks is null."""
    import pyarrow as pa

    columns = [
        table.column(f.name).cast(f.type) if f.name in table.column_names else pa.nulls(len(table), f.type)
        for f in schema
    ]
    return pa.table(columns, schema=schema)


def _verdicts(artifact: Samples, table: pa.Table) -> list[Verdict | None]:
    import pyarrow.parquet as pq

    path = artifact.path / "verdicts.parquet"
    if not path.exists():
        return [None] * len(table)
    judged = {
        (v["problem_id"], v["index"], v["step"]): Verdict(
            v["correct"], v["format_ok"], v["extracted"], v["reason"], v.get("isolation")
        )
        for v in pq.read_table(path).to_pylist()
    }
    keys = zip(*(table.column(name).to_pylist() for name in ("problem_id", "index", "step")), strict=True)
    return [judged.get(key) for key in keys]


def _distinct(table: pa.Table) -> pa.Table:
    """With a running index per problem where (problem, index, step) is not unique."""
    import pyarrow as pa

    ids = table.column("problem_id").to_pylist()
    keys = zip(ids, *(table.column(name).to_pylist() for name in ("index", "step")), strict=True)
    if len(set(keys)) == len(table):
        return table
    seen: Counter[str] = Counter()
    indices = []
    for id in ids:
        indices.append(seen[id])
        seen[id] += 1
    return _with(table, "index", pa.array(indices, pa.int32()))


def _verdict_table(rows: Rows, judged: Sequence[int]) -> pa.Table:
    import pyarrow as pa

    keys = {name: rows.table.column(name).to_pylist() for name in ("problem_id", "index", "step")}
    found: list[dict[str, Any]] = []
    for i in judged:
        verdict = rows.verdicts[i]
        assert verdict is not None
        found.append(
            {
                **{name: column[i] for name, column in keys.items()},
                "correct": verdict.correct,
                "format_ok": verdict.format_ok,
                "extracted": verdict.extracted,
                "reason": verdict.reason,
                "isolation": verdict.isolation,
            }
        )
    return pa.Table.from_pylist(found, schema=verdict_schema())


def _with(table: pa.Table, name: str, values: Any) -> pa.Table:
    return table.set_column(table.column_names.index(name), table.schema.field(name), values)


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
