"""TensorBoard event files, by torch's own writer. ``tensorboard --logdir runs/NAME`` finds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

ROWS = 16  # of a table that are shown


class TensorBoardSink:
    """One event file per process that logs. `run` is not written: in TensorBoard the folder's place is the name."""

    def __init__(self, run: str, folder: Path) -> None:
        self.folder = folder
        self._writer: SummaryWriter | None = None
        self._purge: int | None = None

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._open().add_scalar(name, value, step)

    def table(self, step: int, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """The first rows as text, one block each: TensorBoard has no tables."""
        blocks = ["\n".join(f"    {key}: {value}" for key, value in row.items()) for row in rows[:ROWS]]
        self._open().add_text(name, "\n\n---\n\n".join(blocks), step)

    def rewind(self, step: int) -> None:
        """The next event file tells TensorBoard to hide what earlier ones hold past `step`."""
        self.close()
        self._purge = step + 1

    def _open(self) -> SummaryWriter:
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self.folder), purge_step=self._purge)
        return self._writer

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
