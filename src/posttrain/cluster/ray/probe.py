"""Before any work: can every node read and write the storage, and has it the code that this machine has?

The driver leaves a file with a nonce, a task on every node reads it and leaves one of its own; what is missing
is told with the node's name.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import posttrain
from posttrain.cluster.storage import Storage, remote_errors
from posttrain.errors import ClusterError

PATIENCE = 120.0  # seconds for a node to start a process and answer
FOLDER = ".posttrain-probe"
LIBRARIES = ("torch", "transformers")


@dataclass(frozen=True)
class Node:
    """A living node: its id in Ray, what people call it, and what it offers ({"CPU": 8.0, "GPU": 1.0, …})."""

    id: str
    name: str
    resources: Mapping[str, float]


def living_nodes(ray: Any) -> list[Node]:
    """The nodes that are up now."""
    return [
        Node(n["NodeID"], f"{n['NodeManagerHostname']} ({n['NodeManagerAddress']}, {n['NodeID'][:8]})", n["Resources"])
        for n in ray.nodes()
        if n["Alive"]
    ]


def check_nodes(ray: Any, nodes: Sequence[Node], storage: Storage) -> list[Node]:
    """The nodes that are still up; ClusterError, with names, unless all of them reach `storage` and have this machine's
    code."""
    nonce = uuid.uuid4().hex
    folder = f"{FOLDER}-{nonce}"
    try:
        storage.put_bytes(f"{folder}/driver", nonce.encode())
    except remote_errors() as error:
        raise ClusterError(
            f"this machine can't write to {storage.url}: {error} Choose another ray.storage, or mend the rights."
        ) from error
    try:
        told = _ask(ray, nodes, storage, folder)
        answered = {node.id: storage.read_bytes(f"{folder}/{node.id}") for node in nodes}
    finally:
        storage.remove(folder)
    own = environment()
    up = {node.id for node in living_nodes(ray)}
    there = [node for node in nodes if node.id in up]  # one that has just gone is nobody's fault
    wrong = {
        node.name: fault
        for node in there
        if (fault := fault_of(told[node.id], own, nonce, answered[node.id], storage.url)) is not None
    }
    if wrong:
        lines = "".join(f"\n    {name}: {fault}" for name, fault in wrong.items())
        raise ClusterError(
            f"{len(wrong)} of {len(there)} nodes can't take part, and nothing was started:{lines}\n"
            "  All nodes need the same posttrain and libraries as this machine, and storage that all of them reach at "
            "the same path or URL: --runs on a shared file system, or ray.storage=s3://…"
        )
    return there


def fault_of(
    told: Mapping[str, Any] | str, own: Mapping[str, str], nonce: str, answer: bytes | None, url: str
) -> str | None:
    """What is wrong with a node, in words, or None. told: what its probe returned, or why it returned nothing.
    answer: what it left in the storage, as this machine reads it."""
    if isinstance(told, str):
        return told
    if told["missing"]:
        return str(told["missing"])
    for name, version in own.items():
        if (theirs := told["environment"].get(name, "none")) != version:
            return f"has {name} {theirs}, this machine has {version}"
    if told["read"] != nonce:
        return f"does not see what this machine wrote to {url} ({told['why'] or 'another content'}): it is not shared"
    if answer != nonce.encode():
        return f"reads {url}, and what it writes there is not seen here ({told['why'] or 'no file'})"
    return None


def environment() -> dict[str, str]:
    """What has to be the same everywhere: versions, and a digest of posttrain's own code."""
    found = {"python": platform.python_version(), "posttrain": posttrain.__version__}
    for name in LIBRARIES:
        found[name] = importlib.metadata.version(name)
    package = Path(posttrain.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes())
    return found | {"posttrain's code": digest.hexdigest()[:12]}


def _ask(ray: Any, nodes: Sequence[Node], storage: Storage, folder: str) -> dict[str, Mapping[str, Any] | str]:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task = ray.remote(_looker())
    refs = {}
    for node in nodes:
        there = NodeAffinitySchedulingStrategy(node.id, soft=False)
        options = task.options(num_cpus=0, max_retries=0, scheduling_strategy=there)
        refs[options.remote(storage.url, dict(storage.options), folder, node.id)] = node
    done, _ = ray.wait(list(refs), num_returns=len(refs), timeout=PATIENCE)
    told: dict[str, Mapping[str, Any] | str] = {}
    for ref, node in refs.items():
        if ref not in done:
            told[node.id] = f"no answer within {PATIENCE:.0f} s"
            ray.cancel(ref, force=True)
            continue
        try:
            told[node.id] = ray.get(ref)
        except ray.exceptions.RayError as error:
            told[node.id] = f"its process failed: {str(error).strip().splitlines()[-1]}"
    return told


def _looker() -> Callable[..., dict[str, Any]]:
    """The probe as a function inside another, which Ray sends as code: the node may lack posttrain."""

    def look(url: str, options: dict[str, Any], folder: str, node: str) -> dict[str, Any]:
        import time

        found: dict[str, Any] = {"environment": {}, "missing": None, "read": None, "why": None}
        try:
            from posttrain.cluster.ray.probe import environment

            found["environment"] = environment()
        except ImportError as error:
            try:
                import posttrain

                version = f"its posttrain is {posttrain.__version__}"
            except ImportError:
                version = "posttrain is not installed there"
            found["missing"] = f"{version} ({error})"
            return found
        import fsspec

        try:
            system, root = fsspec.core.url_to_fs(url, **options)
            for _ in range(4):  # a network file system may take a moment to show a new folder
                try:
                    found["read"] = system.cat_file(f"{root.rstrip('/')}/{folder}/driver").decode()
                    break
                except FileNotFoundError as error:
                    found["why"] = f"no such file: {error}"
                    time.sleep(0.5)
            if found["read"]:
                system.pipe_file(f"{root.rstrip('/')}/{folder}/{node}", found["read"].encode())
                found["why"] = None
        except (OSError, ImportError, ValueError) as error:
            found["why"] = f"{type(error).__name__}: {error}"
        return found

    return look
