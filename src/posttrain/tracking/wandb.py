"""Weights & Biases, online or offline (WANDB_MODE), with everything but the numbers turned off.

W&B would also send the command line, the environment's packages, the git remote, the console and the source: none of
it is asked for, and some of it can hold a secret.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from posttrain.errors import StoreError


class WandbSink:
    """One W&B run. Its id is kept in the folder, so that a resumed stage continues the same curves.

    Steps are an ordinary column (`define_metric`), not W&B's own counter, which refuses to go back after a resume.
    """

    def __init__(self, run: str, folder: Path) -> None:
        self.run = run
        self.folder = folder
        self._run: Any = None

    def log(self, step: int, values: Mapping[str, float]) -> None:
        if self._run is None:
            self._run = self._start()
        self._run.log({"step": step, **values})

    def table(self, step: int, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """A W&B table of its own for every step: `name` shows the newest, its history the others."""
        if not rows:
            return
        import wandb

        if self._run is None:
            self._run = self._start()
        columns = list(rows[0])
        cells = [[_cell(row[column]) for column in columns] for row in rows]
        self._run.log({"step": step, name: wandb.Table(columns=columns, data=cells)})

    def rewind(self, step: int) -> None:
        """Nothing to do: the same steps are logged again with the same numbers."""

    def close(self) -> None:
        if self._run is not None:
            self._run.finish()
            self._run = None

    def _start(self) -> Any:
        import wandb

        self.folder.mkdir(parents=True, exist_ok=True)
        group, _, job = self.run.rpartition("/")
        settings = wandb.Settings(
            console="off",
            disable_code=True,
            disable_git=True,
            silent=True,
            x_disable_meta=True,
            x_disable_machine_info=True,
            x_save_requirements=False,
        )
        try:
            run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", "posttrain"),
                name=self.run,
                group=group or None,
                job_type=job,
                id=self._id(),
                resume="allow",
                reinit="create_new",
                dir=str(self.folder),
                settings=settings,
            )
        except wandb.errors.Error as error:
            raise StoreError(
                f"tracking: wandb can't start a run: {error}. Set WANDB_API_KEY or run `wandb login`, "
                f"set WANDB_MODE=offline, or take wandb out of 'tracking:'."
            ) from error
        run.define_metric("step", hidden=True)
        run.define_metric("*", step_metric="step")
        return run

    def _id(self) -> str:
        path = self.folder / "id"
        if not path.exists():
            path.write_text(uuid.uuid4().hex[:12], encoding="utf-8")
        return path.read_text(encoding="utf-8").strip()


def _cell(value: Any) -> str | None:
    """Text: W&B wants one type in a column, and what a model extracted may be anything."""
    return None if value is None else str(value)
