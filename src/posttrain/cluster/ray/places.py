"""Where tasks find their inputs and leave what they make: the run's own folder, or storage beside it."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from posttrain.cluster.ray.tasks import MADE, Job
from posttrain.cluster.storage import Storage
from posttrain.pipeline.jobs import job_of
from posttrain.pipeline.make import described
from posttrain.pipeline.order import Order
from posttrain.stage import Workspace
from posttrain.store import Artifact, Manifest, fingerprint, sha256_file
from posttrain.store.artifacts import packed
from posttrain.store.atomic import sync_folder
from posttrain.store.fingerprint import digest_files
from posttrain.store.manifest import NAME, data_files


class Place(Protocol):
    """How a run's artifacts get to the nodes and back. sees_files: whether nodes see the files of this machine."""

    sees_files: bool

    def job(self, order: Order, device: str) -> Job: ...  # what a task is told, its inputs reachable from every node

    def shard(self, work: Workspace) -> Job: ...  # what those are told besides that make parts

    def lacking(self, order: Order, work: Workspace, names: Sequence[str]) -> list[str]: ...  # parts not made yet

    def collect(self, order: Order, work: Workspace, names: Sequence[str]) -> None: ...  # made parts, into the state

    def standing(self, order: Order) -> bool: ...  # whether the artifact was made and only has to be brought here

    def bring(self, order: Order) -> None: ...  # the artifact, into the run's folder

    def forget(self, order: Order) -> None: ...  # what was made of it before: it is to be made again


class Shared:
    """The run's folder is on a file system that every node has at the same path: tasks work in it."""

    sees_files = True

    def job(self, order: Order, device: str) -> Job:
        return {
            **job_of(_absolute(order), device, "never"),
            "storage": None,
            "cwd": os.getcwd(),
            "log": str(order.directory.resolve().parent / "logs" / f"{order.directory.name}.log"),
        }

    def shard(self, work: Workspace) -> Job:
        return {"state": str(work.state.resolve())}

    def lacking(self, order: Order, work: Workspace, names: Sequence[str]) -> list[str]:
        return [name for name in names if not (work.state / name).exists()]

    def collect(self, order: Order, work: Workspace, names: Sequence[str]) -> None:
        """They stand there already."""

    def standing(self, order: Order) -> bool:
        return False

    def bring(self, order: Order) -> None:
        """It stands there already."""

    def forget(self, order: Order) -> None:
        """It was moved away already."""


class Through:
    """Artifacts go through storage: inputs are put there once, tasks work in folders of their own machine, and what
    they made is fetched from there."""

    sees_files = False

    def __init__(self, storage: Storage, run: Path) -> None:
        self.storage = storage
        self.run = run
        for left in run.glob(".*.tmp"):  # of a driver that died while it fetched
            shutil.rmtree(left)

    def job(self, order: Order, device: str) -> Job:
        told = job_of(_absolute(order), device, "never")
        told["inputs"] = {
            name: [self._put(a) for a in given] if isinstance(given, list) else self._put(given)
            for name, given in order.inputs.items()
        }
        kept = {"url": self.storage.url, "options": dict(self.storage.options)}
        return {**told, "storage": kept, "prefix": self._prefix(order), "cwd": None, "log": None}

    def shard(self, work: Workspace) -> Job:
        return {}

    def lacking(self, order: Order, work: Workspace, names: Sequence[str]) -> list[str]:
        prefix = self._prefix(order)
        return [n for n in names if not (work.state / n).exists() and not self.storage.exists(f"{prefix}/{n}")]

    def collect(self, order: Order, work: Workspace, names: Sequence[str]) -> None:
        for name in names:
            if not (work.state / name).exists():
                self.storage.get_file(f"{self._prefix(order)}/{name}", work.state / name)

    def standing(self, order: Order) -> bool:
        return self.storage.exists(f"{self._prefix(order)}/{MADE}")

    def bring(self, order: Order) -> None:
        made = self.storage.read_bytes(f"{self._prefix(order)}/{MADE}")
        assert made is not None, f"{order.directory.name} was said to be made and is not"
        beside = self.run / f".{order.directory.name}.{uuid.uuid4().hex}.tmp"
        self.storage.get_folder(json.loads(made)["attempt"], beside)
        manifest = Manifest.read(beside)
        assert manifest is not None, f"{beside} has no {NAME}"
        manifest.inputs = described(order, manifest.facts)  # its paths were those of the node
        manifest.write(beside)
        if order.directory.exists():  # what an earlier attempt on this machine left unfinished
            shutil.rmtree(order.directory)
        os.rename(beside, order.directory)
        sync_folder(self.run)

    def forget(self, order: Order) -> None:
        self.storage.remove(self._prefix(order))

    def _prefix(self, order: Order) -> str:
        return f"{self.run.name}/{order.directory.name}/{fingerprint(order.facts())[:16]}"

    def _put(self, artifact: Artifact) -> dict[str, Any]:
        """The input as a task is told of it. What is no folder is a name on the hub, which nodes look up themselves."""
        told = {**packed(artifact), "name": artifact.label}  # whatever folder it will stand in
        if not artifact.path.is_dir():
            return told
        key = f"inputs/{_content_key(artifact)}"
        if not self.storage.holds(key):
            self.storage.put_folder(key, artifact.path)
        return {**told, "stored": key}


def _content_key(artifact: Artifact) -> str:
    """A name for everything in the folder: the manifest lists all of its files."""
    manifest = artifact.path / NAME
    if manifest.exists():
        return sha256_file(manifest)
    return digest_files({name: sha256_file(artifact.path / name) for name in data_files(artifact.path)})


def _absolute(order: Order) -> Order:
    """The same order, whatever folder a task works in."""

    def absolute(artifact: Artifact) -> Artifact:
        if not artifact.path.is_dir():
            return artifact
        return dataclasses.replace(artifact, path=artifact.path.resolve(), name=artifact.label)

    inputs: Mapping[str, Artifact | list[Artifact]] = {
        name: [absolute(a) for a in given] if isinstance(given, list) else absolute(given)
        for name, given in order.inputs.items()
    }
    return dataclasses.replace(order, directory=order.directory.resolve(), inputs=inputs)
