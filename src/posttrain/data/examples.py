"""The `examples` stage: published instruction data as Samples that `sft` learns from."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from posttrain import hub
from posttrain.config import Config
from posttrain.data.columns import standard_split
from posttrain.data.dataset_info import INFO, read_dataset_info
from posttrain.data.forecast import examples_forecast
from posttrain.data.formats import Format, Lesson, Names, read_lesson
from posttrain.data.load import hub_rows
from posttrain.data.rows import SUFFIXES, Row, read_rows
from posttrain.data.splits import same_text
from posttrain.errors import DataError, did_you_mean
from posttrain.records import Sample, samples_to_tables
from posttrain.stage import Workspace
from posttrain.store import Problems, Samples


class Fields(Config):
    """Which column of prompt-and-answer rows holds what, where it has none of the usual names."""

    question: str | None = None
    response: str | None = None
    reasoning: str | None = None
    system: str | None = None


class ExamplesConfig(Config):
    source: str
    """A file (jsonl, json, csv, parquet), LLaMA-Factory's dataset_info.json or its folder, a hub id, or a file there
    (hf://datasets/org/name/file.jsonl)."""
    format: Format = "auto"
    """messages, prompt (prompt and completion), alpaca or sharegpt; auto: as the first row's columns show."""
    name: str | None = None
    """Which dataset of a dataset_info.json."""
    subset: str | None = None
    """Which subset of a hub dataset."""
    revision: str | None = None
    """Branch, tag or commit of a hub dataset."""
    split: str = "train"
    """Which split of a hub dataset, by its own name."""
    columns: Fields = Fields()
    """Which column of a row with a prompt and an answer holds what."""
    sample: int | None = Field(None, ge=1)
    """So many rows, drawn at random by the stage's seed, in their own order."""
    limit: int | None = Field(None, ge=1)
    """Only the first so many rows (of those drawn)."""
    unreadable: Literal["refuse", "drop"] = "refuse"
    """Rows that can't be learned from (tools, turns in an order that no chat has, content that is no text): refuse the
    data, or drop and count them."""

    def files(self) -> dict[str, Path]:
        """The person's own files: their content counts in the fingerprint."""
        path = Path(self.source).expanduser()
        info = path / INFO if path.is_dir() else path
        if not info.is_file():
            return {}
        found = {"source": info}
        if info.name == INFO:
            found["data"] = read_dataset_info(info, self.name)[0]
        return {name: file for name, file in found.items() if file.is_file()}


def examples(config: ExamplesConfig, work: Workspace, without: Problems | None = None) -> Samples:
    """Reads instruction data (messages, prompt and completion, alpaca, sharegpt) as answers to learn from.

    Conversations of several turns keep their turns; every row keeps its number. Rows that ask a validation or test
    problem of `without` are left out and counted, and so, where asked for, are rows that can't be learned from.
    """
    rows, format, names, label = _rows(config)
    asked = without.read() if without is not None else []
    held_out = {same_text(p.question) for p in asked if p.split != "train"}
    samples, left_out, unreadable = [], 0, 0
    for number in _chosen(config, len(rows), work):
        row = _renamed(rows[number], config.columns)
        try:
            lesson = read_lesson(row, format, names)
        except DataError:
            if config.unreadable == "refuse":
                raise
            unreadable += 1
            continue
        sample = _sample(lesson, f"{label}/{number}", label, standard_split(config.split))
        if same_text(sample.question) in held_out:
            left_out += 1
        else:
            samples.append(sample)
    if not samples:
        raise DataError(
            f"{config.source}: of its rows {left_out} ask a held-out problem and {unreadable} can't be learned from, "
            "so that none is left. Give other rows."
        )
    work.write_table("samples.parquet", samples_to_tables(samples)[0])
    several = sum(len([t for t in s.extra.get("messages", ()) if t["role"] == "user"]) > 1 for s in samples)
    facts = {"several_turns": several, "held_out": left_out, "unreadable": unreadable}
    work.summarise(rows=len(samples), **{name: count for name, count in facts.items() if count})
    return Samples(work.dir)


def _chosen(config: ExamplesConfig, n: int, work: Workspace) -> list[int]:
    """Numbers of the rows to read."""
    if config.sample is not None and config.sample > n:
        raise DataError(f"{config.source} has {n} rows, fewer than sample: {config.sample}. Lower it, or leave it out.")
    drawn = random.Random(work.derive("sample")).sample(range(n), config.sample) if config.sample else range(n)
    return sorted(drawn)[: config.limit]


def _renamed(row: Row, columns: Fields) -> Row:
    """The row with its columns under the names that the prompt format knows. DataError for one that is not there."""
    ours = {"question": "prompt", "response": "completion", "reasoning": "reasoning", "system": "system"}
    values = dict(row.values)
    for name, column in columns.model_dump(exclude_none=True).items():
        if column not in row.values:
            raise DataError(
                f"{row.where}: there is no column {column!r} for '{name}'.{did_you_mean(column, row.values)} "
                f"Columns: {', '.join(row.values)}."
            )
        values[ours[name]] = row.values[column]
    return Row(values, row.where)


def _rows(config: ExamplesConfig) -> tuple[list[Row], Format, Names, str]:
    remote = config.source.startswith("hf://")
    path = hub.dataset_file(config.source) if remote else Path(config.source).expanduser()
    if path.is_dir() and (path / INFO).is_file():
        path = path / INFO
    if path.name == INFO:
        file, format, names = read_dataset_info(path, config.name)
        return read_rows(file), format, names, file.stem
    if config.name is not None:
        raise DataError(f"name: {config.name!r} chooses a dataset of a {INFO}, and {config.source} is none. Remove it.")
    if path.suffix.lower() in SUFFIXES:
        return read_rows(path), config.format, Names(), path.stem
    if path.exists() or not hub.looks_like_hub_name(config.source):
        raise DataError(
            f"source {config.source} is no file that ends in {', '.join(SUFFIXES)}, no folder with a {INFO} and no hub "
            "id (org/name). Check it."
        )
    splits, _ = hub_rows(config.source, config.subset, config.revision)
    if config.split not in splits:
        raise DataError(f"{config.source} has no split {config.split!r}; it has {', '.join(splits)}. Set split:.")
    return splits[config.split], config.format, Names(), config.source.rpartition("/")[2]


def _sample(lesson: Lesson, id: str, label: str, split: str | None) -> Sample:
    """A lesson as a Sample: whatever one question and one answer can't say stands in `extra`."""
    turns = lesson.turns
    extra: dict[str, Any] = {}
    if len(turns) != 2:
        extra["messages"] = [
            {"role": t.role, "content": t.content, **({"reasoning": t.reasoning} if t.reasoning is not None else {})}
            for t in turns
        ]
    if lesson.input is not None:
        extra |= {"instruction": lesson.instruction, "input": lesson.input}
    return Sample(
        problem_id=id,
        index=0,
        question=next(t.content for t in turns if t.role == "user"),
        response=turns[-1].text,
        source=f"imported:{label}",
        split=split,
        extra=extra,
    )


examples.forecast = examples_forecast  # type: ignore[attr-defined]
