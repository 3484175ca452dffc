"""TensorBoard event files, by torch's own writer. ``tensorboard --logdir runs/NAME`` finds them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class TensorBoardSink:
    """One event file per process that logs. `run` is not written: in TensorBoard the folder's place is the name."""

    def __init__(self, run: str, folder: Path) -> None:
        self.folder = folder
        self._writer: SummaryWriter | None = None
        self._purge: int | None = None

    def log(self, step: int, values: Mapping[str, float]) -> None:
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self.folder), purge_step=self._purge)
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def rewind(self, step: int) -> None:
        """The next event file tells TensorBoard to hide what earlier ones hold past `step`."""
        self.close()
        self._purge = step + 1

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
