"""The `examples` stage: published instruction data as Samples that `sft` learns from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from posttrain import hub
from posttrain.config import Config
from posttrain.data.columns import standard_split
from posttrain.data.dataset_info import read_dataset_info
from posttrain.data.formats import Format, Lesson, Names, read_lesson
from posttrain.data.load import hub_rows
from posttrain.data.rows import SUFFIXES, Row, read_rows
from posttrain.errors import DataError
from posttrain.records import Sample, samples_to_tables
from posttrain.stage import Workspace
from posttrain.store import Samples

INFO = "dataset_info.json"


class ExamplesConfig(Config):
    source: str
    """A file (jsonl, json, csv, parquet), LLaMA-Factory's dataset_info.json or its folder, or a hub id."""
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
    limit: int | None = Field(None, ge=1)
    """Only the first so many rows."""

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


def examples(config: ExamplesConfig, work: Workspace) -> Samples:
    """Reads instruction data (messages, prompt and completion, alpaca, sharegpt) as answers to learn from.

    Conversations of several turns keep their turns; every row keeps its number.
    """
    rows, format, names, label = _rows(config)
    samples = []
    for number, row in enumerate(rows[: config.limit]):
        lesson = read_lesson(row, format, names)
        samples.append(_sample(lesson, f"{label}/{number}", label, standard_split(config.split)))
    work.write_table("samples.parquet", samples_to_tables(samples)[0])
    several = sum(len([t for t in s.extra.get("messages", ()) if t["role"] == "user"]) > 1 for s in samples)
    work.summarise(rows=len(samples), **({"several_turns": several} if several else {}))
    return Samples(work.dir)


def _rows(config: ExamplesConfig) -> tuple[list[Row], Format, Names, str]:
    path = Path(config.source).expanduser()
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
