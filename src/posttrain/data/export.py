"""The `export` stage: answers to learn from as a dataset that LLaMA-Factory trains on."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import Field, field_validator

from posttrain.config import Config
from posttrain.errors import DataError
from posttrain.prompts import read_turns
from posttrain.records import Sample, samples_to_tables
from posttrain.stage import Workspace
from posttrain.store import Samples, write_atomic

INFO = "dataset_info.json"
COLUMNS = {
    "prompt": "instruction",
    "query": "input",
    "response": "output",
    "system": "system",
    "history": "history",
}


class ExportConfig(Config):
    name: str = Field("posttrain", min_length=1)
    """What the dataset is called in dataset_info.json, and its file before `.json`."""
    system: str | None = None
    """The system prompt of rows that bring none."""

    @field_validator("name")
    @classmethod
    def _a_file_name(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][\w.+-]*", value):
            raise ValueError("use letters, digits, '.', '_', '+' and '-'; it names a file")
        return value


def export(config: ExportConfig, traces: Samples, work: Workspace) -> Samples:
    """Writes NAME.json in alpaca's columns, and dataset_info.json beside it, as LLaMA-Factory reads them.

    Put both into its data/ folder, or point `dataset_dir` here. The rows themselves stay beside them, so that a stage
    can follow. Nothing is lost on the way: `examples` reads the folder back as the same conversations.
    """
    samples = list(traces.read())
    rows = [alpaca_row(sample, config.system) for sample in samples]
    if not rows:
        raise DataError(f"{traces.label} has no rows to export. Loosen what was curated before.")
    with write_atomic(work.dir / f"{config.name}.json") as file:
        for part in _json_list(rows):
            file.write(part.encode("utf-8", errors="replace"))
    work.write_json(INFO, dataset_info(config.name, rows))
    work.write_table("samples.parquet", samples_to_tables(samples)[0])
    work.summarise(rows=len(rows), dataset=config.name)
    return Samples(work.dir)


def alpaca_row(sample: Sample, system: str | None = None) -> dict[str, Any]:
    """instruction, input, output, and where there are any system and history. DataError for turns that make no
    conversation."""
    messages = sample.extra.get("messages")
    if messages is None:
        given = sample.extra.get("input")
        row = {
            "instruction": sample.extra["instruction"] if given else sample.question,
            "input": given or "",
            "output": sample.response,
        }
        return {**row, "system": system} if system else row
    first, *rest = read_turns(messages, sample.problem_id)
    told = first.content if first.role == "system" else system
    texts = [turn.text for turn in (rest if first.role == "system" else [first, *rest])]
    row = {"instruction": texts[-2], "input": "", "output": texts[-1]}
    if told:
        row["system"] = told
    pairs = [texts[i : i + 2] for i in range(0, len(texts) - 2, 2)]
    return {**row, "history": pairs} if pairs else row


def dataset_info(name: str, rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The entry of dataset_info.json: which file, and which of its columns is what."""
    present = {column for row in rows for column in row}
    columns = {role: column for role, column in COLUMNS.items() if column in present}
    return {name: {"file_name": f"{name}.json", "formatting": "alpaca", "columns": columns}}


def _json_list(rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    yield "[\n"
    for number, row in enumerate(rows):
        yield ("" if number == 0 else ",\n") + json.dumps(row, ensure_ascii=False)
    yield "\n]\n"
