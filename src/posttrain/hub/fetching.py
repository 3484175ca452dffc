"""`fetch`: copies models and datasets into a local mirror, for nodes without network."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from posttrain.errors import DataError, MissingExtraError, StoreError
from posttrain.hub.download import NotOnHubError, snapshot
from posttrain.hub.mirror import LISTING, VARIABLE, Kind, listing, mirror_root, place
from posttrain.hub.names import NAMES
from posttrain.store import sha256_file, write_atomic, write_json


def fetch(
    refs: str | Sequence[str],
    destination: str | Path | None = None,
    *,
    kind: Kind | None = None,
    revision: str | None = None,
) -> list[Path]:
    """Mirrors every ref below `destination` (default: ``POSTTRAIN_DATA``) and returns the folders, in their order.

    A ref is ``org/name``, or the short name of a dataset (``gsm8k``); a dataset's may name one of its subsets,
    ``openai/gsm8k:main``. Without a `kind` it is the model of that name, or else the dataset. A folder appears only
    when all its files are there, with ``mirror.json`` listing their sha256; what is there already and whole is kept, a
    download cut short goes on where it stopped, and a damaged copy is fetched again. ModelError or DataError as
    `snapshot`; StoreError when something else stands in a folder's place.
    """
    root = Path(destination).expanduser() if destination is not None else mirror_root()
    if root is None:
        raise DataError(f"no folder to fetch into: {VARIABLE} is not set. Set it, or name a folder.")
    return [_fetch_any(ref, root, kind, revision) for ref in ([refs] if isinstance(refs, str) else refs)]


def _fetch_any(ref: str, root: Path, kind: Kind | None, revision: str | None) -> Path:
    named = NAMES.get(ref)
    if named is not None:
        subset = f":{named.subset}" if named.subset else ""
        return _fetch(named.repository + subset, root, "dataset", revision or named.revision)
    if kind is not None or ":" in ref:
        return _fetch(ref, root, kind or "dataset", revision)
    kinds: tuple[Kind, ...] = ("model", "dataset")
    for each in kinds:
        with contextlib.suppress(NotOnHubError):
            return _fetch(ref, root, each, revision)
    raise NotOnHubError(
        f"the Hub has neither a model nor a dataset {ref!r} that this account may read. Check the name; for a private "
        "one set HF_TOKEN."
    )


def _fetch(ref: str, root: Path, kind: Kind, revision: str | None) -> Path:
    repository, _, subset = ref.partition(":")
    target = place(root, kind, repository, revision)
    if _whole(target) and (not subset or (target / subset).is_dir()):
        return target
    if target.exists() and not (target / LISTING).is_file():
        raise StoreError(
            f"{target} is in the way: it was not made by fetch ({LISTING} is missing). Move it, or choose another "
            "destination."
        )
    partial = target.with_name(f".{target.name}.partial")
    download = partial / "repository"
    snapshot(kind, repository, revision, download)
    commit = _commit(download)
    if kind == "model":
        made = download
    else:
        made = partial / "splits"
        _write_splits(download, repository, subset or None, made)
        if _whole(target) and listing(target).get("commit") == commit:
            _keep_other_subsets(target, made)
    shutil.rmtree(made / ".cache", ignore_errors=True)
    files = {str(p.relative_to(made)): sha256_file(p) for p in sorted(made.rglob("*")) if p.is_file()}
    write_json(
        made / LISTING, {"ref": repository, "kind": kind, "revision": revision, "commit": commit, "files": files}
    )
    if target.exists():
        shutil.rmtree(target)
    os.replace(made, target)
    shutil.rmtree(partial, ignore_errors=True)
    return target


def _whole(folder: Path) -> bool:
    """Whether every listed file is there with its sha256."""
    if not (folder / LISTING).is_file():
        return False
    files: dict[str, str] = listing(folder)["files"]
    return all((folder / n).is_file() and sha256_file(folder / n) == digest for n, digest in files.items())


def _commit(download: Path) -> str | None:
    """The commit that the Hub's client noted beside each file it downloaded (first line of ``*.metadata``)."""
    for note in sorted((download / ".cache").rglob("*.metadata")):
        return note.read_text(encoding="utf-8").partition("\n")[0] or None
    return None


def _write_splits(repository: Path, ref: str, subset: str | None, folder: Path) -> None:
    """``SUBSET/SPLIT.jsonl`` for one subset, or for all of them."""
    shutil.rmtree(folder, ignore_errors=True)
    for name in [subset] if subset else subsets(repository, ref):
        for split, rows in read_repository(repository, ref, name).items():
            with write_atomic(folder / name / f"{split}.jsonl") as file:
                for row in rows:
                    file.write((json.dumps(row, ensure_ascii=False, default=str) + "\n").encode())


def _keep_other_subsets(target: Path, made: Path) -> None:
    for folder in target.iterdir():
        if folder.is_dir() and not (made / folder.name).exists():
            shutil.copytree(folder, made / folder.name)


def subsets(repository: Path, ref: str) -> list[str]:
    """Names of a dataset's subsets (its configs)."""
    datasets = _datasets()
    try:
        return [str(name) for name in datasets.get_dataset_config_names(str(repository))]
    except (ValueError, OSError, RuntimeError) as error:
        raise DataError(_unreadable(ref, error)) from None


def read_repository(repository: Path, ref: str, subset: str | None) -> dict[str, Iterator[dict[str, Any]]]:
    """Rows by split of a dataset's downloaded repository, as `datasets` reads them. No code of the repository runs."""
    import tempfile

    datasets = _datasets()
    with tempfile.TemporaryDirectory() as cache:
        try:
            loaded = datasets.load_dataset(str(repository), subset, cache_dir=cache, keep_in_memory=True)
        except (ValueError, OSError, RuntimeError) as error:
            raise DataError(_unreadable(ref, error)) from None
        return {str(split): iter(rows.to_list()) for split, rows in loaded.items()}


def _unreadable(ref: str, error: Exception) -> str:
    first = str(error).strip().partition("\n")[0]
    return f"`datasets` can't read {ref}: {first}. Name a subset it has, or bring its rows as a jsonl file."


def _datasets() -> Any:
    try:
        import datasets
    except ImportError:
        raise MissingExtraError(
            "reading datasets from the Hub needs the `datasets` library. Install it: pip install 'posttrain[hub]'"
        ) from None
    return datasets
