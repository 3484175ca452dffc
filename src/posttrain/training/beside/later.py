"""Validation afterwards, of what was missed while training: `posttrain validate RUN/STAGE`."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from posttrain.errors import StoreError
from posttrain.models import pick_device
from posttrain.store import Manifest
from posttrain.store.lock import locked
from posttrain.tracking import Metrics
from posttrain.training.asked import Answered, ask, read_asked
from posttrain.training.beside.weights import HOME, open_shelf
from posttrain.training.beside.worker import load
from posttrain.training.validation import SampleLog


def missed(stage: Path) -> list[int]:
    """Steps whose weights wait to be validated. StoreError where the folder is no stage."""
    if Manifest.read(stage) is None:
        raise StoreError(f"{stage} is no stage: it has no manifest.json. Give the folder of one, e.g. runs/NAME/sft.")
    return list(open_shelf(stage).found()) if (stage / HOME).is_dir() else []


def validate_missed(stage: Path, device: str = "auto") -> Iterator[Answered]:
    """Asks each of them what training would have asked, adds it to metrics.jsonl and validation.jsonl, and frees it.

    LockedError while the stage is being made.
    """
    if not missed(stage):
        return
    with locked(stage):
        shelf = open_shelf(stage)
        shelf.keep()
        asked = read_asked(shelf.asked)
        metrics = Metrics(stage / "metrics.jsonl")
        log = SampleLog.of(stage, metrics)
        opened = None
        for step, folder in shelf.found().items():
            opened = load(folder, pick_device(device), opened)
            found = ask(*opened, asked, step)
            log.add(found)
            metrics.log(step, **found.scores)
            shutil.rmtree(folder)
            yield found
        metrics.sort()
        log.rows.sort()
        shutil.rmtree(shelf.home)
        _forget(stage)


def _forget(stage: Path) -> None:
    """The manifest no longer says that something is missing."""
    manifest = Manifest.read(stage)
    if manifest is not None and manifest.summary.pop("validation_missed", None) is not None:
        manifest.write(stage)
