"""Where machines leave files for each other: a folder or a bucket, by its URL, through fsspec.

Nothing here renames what others may read already: an object is put under its name whole (S3 does that by itself; in a
folder it is written beside and renamed), and what belongs together is counted only once its list of contents stands.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from posttrain.errors import ClusterError, DamagedError, MissingExtraError
from posttrain.store import sha256_file

LIST = "contents.json"  # written last: name → sha256 of a folder that was put


@dataclass(frozen=True)
class Storage:
    """`url` and what fsspec needs to open it. Handed to other machines as it is; secrets stay in the environment."""

    url: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def put_bytes(self, name: str, content: bytes) -> None:
        """An object appears whole or not at all."""
        system, path = self._at(name)
        if isinstance(system, LocalFileSystem):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            beside = f"{path}.{uuid.uuid4().hex}.tmp"
            Path(beside).write_bytes(content)
            os.replace(beside, path)
        else:
            system.pipe_file(path, content)

    def put_file(self, name: str, file: Path) -> None:
        """The same of a file."""
        system, path = self._at(name)
        if isinstance(system, LocalFileSystem):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            beside = f"{path}.{uuid.uuid4().hex}.tmp"
            shutil.copyfile(file, beside)
            os.replace(beside, path)
        else:
            system.put_file(str(file), path)

    def read_bytes(self, name: str) -> bytes | None:
        """None where there is no such object."""
        system, path = self._at(name)
        try:
            content: bytes = system.cat_file(path)
        except FileNotFoundError:
            return None
        return content

    def get_file(self, name: str, file: Path) -> None:
        """Downloads an object; FileNotFoundError where there is none. `file` appears whole or not at all."""
        system, path = self._at(name)
        file.parent.mkdir(parents=True, exist_ok=True)
        beside = file.with_name(f".{file.name}.{uuid.uuid4().hex}.tmp")
        try:
            system.get_file(path, str(beside))
            os.replace(beside, file)
        finally:
            beside.unlink(missing_ok=True)

    def exists(self, name: str) -> bool:
        """Whether there is such an object, asked anew."""
        system, path = self._at(name)
        system.invalidate_cache()
        return bool(system.exists(path))

    def remove(self, name: str) -> None:
        """Removes an object or everything below a name."""
        system, path = self._at(name)
        if system.exists(path):
            system.rm(path, recursive=True)

    def put_folder(self, name: str, folder: Path) -> None:
        """All files below `folder` but its `.work`; it counts once `contents.json` stands, which is written last."""
        contents = {}
        for path in sorted(folder.rglob("*")):
            inside = path.relative_to(folder)
            if path.is_file() and not inside.parts[0].startswith("."):
                self.put_file(f"{name}/{inside.as_posix()}", path)
                contents[inside.as_posix()] = sha256_file(path)
        self.put_bytes(f"{name}/{LIST}", json.dumps(contents).encode())

    def get_folder(self, name: str, folder: Path) -> None:
        """Downloads what `put_folder` put. DamagedError for a file whose sha256 is not the one it was put with."""
        listed = self.read_bytes(f"{name}/{LIST}")
        if listed is None:
            raise DamagedError(f"{self.url}/{name} is not whole: {LIST} is missing. Remove it and run again.")
        for inside, expected in json.loads(listed).items():
            if Path(inside).is_absolute() or ".." in Path(inside).parts:
                raise DamagedError(f"{self.url}/{name}/{LIST} names {inside!r}, which is outside of it. Remove it.")
            self.get_file(f"{name}/{inside}", folder / inside)
            if sha256_file(folder / inside) != expected:
                raise DamagedError(f"{self.url}/{name}/{inside} is damaged. Remove {name} there and run again.")

    def holds(self, name: str) -> bool:
        """Whether a folder of that name was put whole."""
        return self.exists(f"{name}/{LIST}")

    def _at(self, name: str) -> tuple[Any, str]:
        try:
            system, root = fsspec.core.url_to_fs(self.url, **self.options)
        except ImportError as error:
            raise MissingExtraError(
                f"storage {self.url} needs a library that is missing ({error}). For S3: pip install posttrain[s3]."
            ) from error
        except ValueError as error:
            raise ClusterError(
                f"storage {self.url} can't be opened: {error}. Give a folder, or a URL that fsspec knows, e.g. s3://…"
            ) from error
        return system, f"{str(root).rstrip('/')}/{name}"


def remote_errors() -> tuple[type[Exception], ...]:
    """What storage raises when it can't be reached or refuses: system errors, and those of S3's client."""
    try:
        from botocore.exceptions import BotoCoreError
    except ImportError:
        return (OSError,)
    return OSError, BotoCoreError
