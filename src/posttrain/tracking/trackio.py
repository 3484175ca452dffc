"""trackio: W&B's calls on a database of one's own; ``trackio show`` opens it.

trackio keeps one database per machine (TRACKIO_DIR says where) so that runs can be compared side by side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


class TrackioSink:
    """One trackio run named as the stage; the project is the recipe, so that its stages share a page.

    The folder of the stage stays empty: the database is trackio's.
    """

    def __init__(self, run: str, folder: Path) -> None:
        self.run = run
        self._run: Any = None

    def log(self, step: int, values: Mapping[str, float]) -> None:
        if self._run is None:
            import trackio

            project, _, name = self.run.rpartition("/")
            self._run = trackio.init(
                project=project or "posttrain",
                name=name,
                resume="allow",
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )
        self._run.log(dict(values), step=step)

    def table(self, step: int, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Nothing: trackio's tables want pandas, and the rows stand in a file of the stage."""

    def rewind(self, step: int) -> None:
        """Nothing to do: the same steps are logged again with the same numbers."""

    def close(self) -> None:
        if self._run is not None:
            self._run.finish()
            self._run = None
