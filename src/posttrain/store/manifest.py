"""`manifest.json`: what made an artifact, out of what, when and with which result."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from posttrain.errors import DamagedError
from posttrain.store.atomic import write_json
from posttrain.store.fingerprint import digest_files, sha256_file

NAME = "manifest.json"
# Files whose bytes differ between identical runs (times, speeds) or that may grow later; listed with their sha256, left
# out of the digest.
VOLATILE = ("metrics.jsonl", "loss.png", "validation.jsonl", "log.txt", "timing.json")


@dataclass
class Manifest:
    """`facts` is what the fingerprint is the hash of: stage, version, seed, config and input digests."""

    stage: str
    kind: str
    status: Literal["running", "finished"]
    fingerprint: str
    facts: dict[str, Any]
    config: dict[str, Any]
    inputs: dict[str, Any]  # name → {name, path, digest} or a list of them
    seed: int
    started: str
    finished: str | None = None
    seconds: float | None = None
    attempts: int = 1
    code: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    hardware: dict[str, Any] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)  # relative path → sha256
    digest: str | None = None
    summary: dict[str, Any] = field(default_factory=dict)  # a few numbers for people

    def write(self, folder: Path) -> None:
        write_json(folder / NAME, dataclasses.asdict(self))

    @classmethod
    def read(cls, folder: Path) -> Manifest | None:
        """None where there is no manifest; DamagedError where there is one that can't be read."""
        path = folder / NAME
        if not path.exists():
            return None
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise DamagedError(f"{path} is not a manifest ({error}). Move {folder} away and run again.") from error

    def seal(self, folder: Path) -> None:
        """Lists the files with their sha256 and computes the artifact's digest."""
        self.outputs = {name: sha256_file(folder / name) for name in data_files(folder)}
        self.digest = digest_files({n: d for n, d in self.outputs.items() if Path(n).name not in VOLATILE})

    def verify(self, folder: Path) -> None:
        """DamagedError when a listed file is missing or its bytes have changed."""
        for name, expected in self.outputs.items():
            path = folder / name
            if Path(name).name in VOLATILE:
                continue
            if not path.exists():
                raise DamagedError(
                    f"{path} is missing, though its manifest lists it. Put it back, "
                    f"or make it again: --fresh {folder.name}."
                )
            if sha256_file(path) != expected:
                raise DamagedError(
                    f"{path} is damaged: its sha256 is not the one in its manifest. Put the file back, "
                    f"or make it again: --fresh {folder.name}."
                )


def data_files(folder: Path) -> list[str]:
    """Relative paths of an artifact's files: no manifest, no temporaries, nothing below a `.work` folder."""
    names = []
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".") for part in relative.parts) and str(relative) != NAME:
            names.append(str(relative))
    return names
