"""From what a config names to Problems: a file, a folder, a mirror or the Hub."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from posttrain import hub
from posttrain.data.columns import standard_split, to_problems
from posttrain.data.config import SPLITS, DataConfig, split_files
from posttrain.data.known import KNOWN, Known
from posttrain.data.rows import Row, read_rows
from posttrain.errors import DataError
from posttrain.records import Problem


@dataclass(frozen=True)
class Loaded:
    """`source` says where the problems are from, for the manifest."""

    problems: list[Problem]
    source: dict[str, Any] = field(default_factory=dict)


def load(config: DataConfig) -> Loaded:
    """All problems of a dataset that is not made here, with the splits it came with."""
    if config.dataset.startswith("hf://"):
        return Loaded(_from_path(hub.dataset_file(config.dataset), config), {"from": config.dataset})
    if config.path is not None:
        return Loaded(_from_path(config.path, config), {"from": config.path.name})
    known = KNOWN.get(config.dataset)
    if known is None:
        return _from_hub_id(config)
    flat = _flat_files(known) if config.revision is None else None
    if flat is not None:
        rows: Mapping[str, list[Row]] = {split: read_rows(file) for split, file in flat.items()}
        source = {"from": "mirror", "files": sorted(file.name for file in flat.values())}
    else:
        rows, source = hub_rows(known.hub.repository, known.hub.subset, config.revision, usual=known.hub.revision)
    keep = config.calculator_marks == "keep"
    return Loaded([p for split in known.files for p in known.convert(_need(rows, split, config), split, keep)], source)


def _from_path(path: Path, config: DataConfig) -> list[Problem]:
    if not path.is_dir():
        return to_problems(read_rows(path), config.columns, prefix=path.stem, split=None)
    files = split_files(path)
    if not files:
        raise DataError(f"{path} has no file named after a split. Name them train.jsonl, validation.jsonl, test.jsonl.")
    return [
        problem
        for split, file in files.items()
        for problem in to_problems(read_rows(file), config.columns, prefix=f"{path.name}/{split}", split=split)
    ]


def _flat_files(known: Known) -> dict[str, Path] | None:
    """The mirror's flat files of a named dataset, or None unless all are there."""
    root = hub.mirror_root()
    files = {split: root / name for split, name in known.files.items()} if root else {}
    return files if files and all(file.is_file() for file in files.values()) else None


def _from_hub_id(config: DataConfig) -> Loaded:
    if not hub.looks_like_hub_name(config.dataset):
        raise DataError(f"there is no file or folder {config.dataset} (looked from {Path.cwd()}). Check the path.")
    rows, source = hub_rows(config.dataset, config.subset, config.revision)
    theirs = _their_splits(rows, config)
    name = config.dataset.rpartition("/")[2]
    problems = [
        problem
        for split, their in theirs.items()
        for problem in to_problems(rows[their], config.columns, prefix=f"{name}/{split}", split=split)
    ]
    return Loaded(problems, source)


def _their_splits(rows: Iterable[str], config: DataConfig) -> dict[str, str]:
    """Our split → its name in the source."""
    present = list(rows)
    found: dict[str, str] = {}
    for split, their in config.splits.items():
        if their not in present:
            raise DataError(f"{config.dataset} has no split {their!r} to be our {split}; it has {', '.join(present)}.")
        found[split] = their
    for their in present:
        ours = standard_split(their)
        if ours is not None and ours not in found and their not in found.values():
            found[ours] = their
    if not found:
        raise DataError(
            f"{config.dataset} has the splits {', '.join(present)}, none of which is train, validation or test. Say "
            f"what they are: splits: {{train: {present[0]}}}."
        )
    return {split: found[split] for split in SPLITS if split in found}


def hub_rows(
    repository: str, subset: str | None, revision: str | None, *, usual: str | None = None
) -> tuple[dict[str, list[Row]], dict[str, Any]]:
    """Rows by split, from a mirror made by `fetch` or from the Hub, and where they are from.

    `usual` is the revision where none is asked for; a mirror's copy without a revision is then as good.
    """
    folder = hub.find("dataset", repository, revision or usual)
    if folder is None and revision is None:
        folder = hub.find("dataset", repository, None)
    if folder is not None and (chosen := _subset_folder(folder, subset)) is not None:
        commit = hub.listing(folder).get("commit")
        rows = {file.stem: read_rows(file) for file in sorted(chosen.glob("*.jsonl"))}
        return rows, {"from": "mirror", "repository": repository, "commit": commit}
    snapshot = hub.snapshot("dataset", repository, revision or usual)
    read = hub.read_repository(snapshot, repository, subset)
    rows = {
        split: [Row(values, f"{repository}, {split} row {number}") for number, values in enumerate(values_of, start=1)]
        for split, values_of in read.items()
    }
    return rows, {"from": "hub", "repository": repository, "commit": snapshot.name}


def _subset_folder(folder: Path, subset: str | None) -> Path | None:
    """A mirrored dataset's folder of one subset; without a name the only one, or the one called default."""
    subsets = sorted(p for p in folder.iterdir() if p.is_dir())
    if subset is None and len(subsets) == 1:
        return subsets[0]
    return next((p for p in subsets if p.name == (subset or "default")), None)


def _need(rows: Mapping[str, list[Row]], split: str, config: DataConfig) -> list[Row]:
    if not rows.get(split):
        raise DataError(
            f"the source of {config.dataset} has no {split} rows. Fetch it again: `posttrain fetch {config.dataset}`."
        )
    return rows[split]
