"""What of an artifact, or of a whole run, goes to the Hub, and under which names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from posttrain.errors import DataError
from posttrain.hub.push import CARD, Content, Parcel, folder_files
from posttrain.store import Manifest, write_table
from posttrain.store.manifest import NAME, data_files

if TYPE_CHECKING:
    import pyarrow as pa

DATA = {"problems": "problems.parquet", "samples": "samples.parquet"}  # kind → its table
_ORDER = ("train", "validation", "test")
_WEIGHTS = ("model", "checkpoints", "adapter")  # folders of a training stage
_JOIN = ("problem_id", "index", "step")


def model_parcel(folder: Path, title: str, card: str | None, replaced: Mapping[str, bytes | None]) -> Parcel:
    """A model's or an adapter's folder, in one commit. card: README.md, in place of one in the folder."""
    return Parcel("model", _with_card(folder_files(folder, replaced), card), title)


def folder_parcel(folder: Path, title: str, card: str | None) -> Parcel:
    """A folder that is a data set as it stands."""
    return Parcel("dataset", _with_card(folder_files(folder, {}), card), title, whole=False)


def data_parcel(folder: Path, kind: str, title: str, card: str | None, scratch: Path) -> Parcel:
    """Problems or samples as ``data/SPLIT.parquet``, written below `scratch`; samples with their verdicts beside them.

    The same artifact gives the same bytes, so that what the Hub has is known again.
    """
    files: dict[str, Content] = {}
    for split, table in by_split(data_table(folder, kind)).items():
        path = scratch / "data" / f"{split}.parquet"
        write_table(path, table)
        files[split_file(split)] = path
    return Parcel("dataset", _with_card(files, card), title, whole=False)


def split_file(split: str) -> str:
    """Where a split's rows stand in a data set's repository."""
    return f"data/{split}.parquet"


def data_table(folder: Path, kind: str) -> pa.Table:
    """The rows of problems or samples; of samples with their verdict's columns. DataError where there are none."""
    import pyarrow.parquet as pq

    path = folder / DATA[kind]
    if not path.is_file():
        raise DataError(f"{path} is missing: {folder.name} is not finished, or not whole. Make it first.")
    table = pq.read_table(path)
    if table.num_rows == 0:
        raise DataError(f"{path} has no rows, and the Hub has no use for an empty data set.")
    verdicts = folder / "verdicts.parquet"
    if kind != "samples" or not verdicts.is_file():
        return table
    judged = {tuple(row[key] for key in _JOIN): row for row in pq.read_table(verdicts).to_pylist()}
    keys = zip(*(table.column(key).to_pylist() for key in _JOIN), strict=True)
    rows = [judged.get(key) for key in keys]
    for name, kind_of in _verdict_columns().items():
        table = table.append_column(name, _column([row[name] if row else None for row in rows], kind_of))
    return table


def by_split(table: pa.Table) -> dict[str, pa.Table]:
    """Rows by split, the usual splits first. Rows without one are `train`, which is what the Hub calls a sole split."""
    import pyarrow.compute as pc

    splits = pc.fill_null(table.column("split"), "train")
    names = sorted(set(splits.to_pylist()), key=lambda n: (_ORDER.index(n) if n in _ORDER else len(_ORDER), n))
    return {name: table.filter(pc.equal(splits, name)) for name in names}


def is_run(folder: Path) -> bool:
    """Whether stages' folders stand below this one, and it is none itself."""
    return not (folder / NAME).is_file() and bool(_stages(folder))


def run_parcel(run: Path, card: str | None, *, weights: bool = False) -> Parcel:
    """Every finished stage's manifest, metrics, tables and pages, a folder each.

    weights: with models, checkpoints and adapters. What an interrupted attempt left, replies of teachers as they came,
    versions set aside and hidden files never go. DataError where no stage is finished.
    """
    files: dict[str, Content] = {}
    left_out = ["journals/ (replies as they came)"] if (run / "journals").is_dir() else []
    for stage in _stages(run):
        manifest = Manifest.read(stage)
        if manifest is None or manifest.status != "finished" or "@" in stage.name:
            left_out.append(f"{stage.name}/ ({'an older version' if '@' in stage.name else 'not finished'})")
            continue
        names = data_files(stage)
        heavy = [name for name in names if name.partition("/")[0] in _WEIGHTS and "/" in name]
        if heavy and not weights:
            left_out.append(f"{stage.name}/{', '.join(sorted({n.partition('/')[0] for n in heavy}))} (weights)")
        for name in [NAME, *names]:
            if weights or name not in heavy:
                files[f"{stage.name}/{name}"] = stage / name
    if not files:
        raise DataError(f"no stage of {run} is finished. Finish the run first: posttrain run RECIPE.")
    return Parcel("dataset", _with_card(files, card), run.resolve().name, whole=False, left_out=tuple(left_out))


def _stages(run: Path) -> list[Path]:
    return sorted(p.parent for p in run.glob(f"*/{NAME}") if not p.parent.name.startswith("."))


def _with_card(files: dict[str, Content], card: str | None) -> dict[str, Content]:
    return files if card is None else {**files, CARD: card.encode("utf-8", errors="replace")}


def _verdict_columns() -> dict[str, pa.DataType]:
    import pyarrow as pa

    return {"correct": pa.bool_(), "format_ok": pa.bool_(), "extracted": pa.string(), "reason": pa.string()}


def _column(values: list[object], kind: pa.DataType) -> pa.Array:
    import pyarrow as pa

    return pa.array(values, kind)
