"""Calls to the Hugging Face Hub, and what their failures mean to a person."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from posttrain.errors import DataError, ModelError, PosttrainError
from posttrain.hub.mirror import VARIABLE, Kind
from posttrain.hub.names import NAMES


class NotOnHubError(ModelError, DataError):
    """The Hub has no such repository, or not for this account."""


# Weights in formats that need unpickling, or that we don't read, stay where they are.
_UNWANTED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack", "*.gguf", "*.onnx", "original/*", "onnx/*")


def snapshot(
    kind: Kind, ref: str, revision: str | None, folder: Path | None = None, *, only: str | None = None
) -> Path:
    """The files of a hub repository at `revision`, in `folder` or in the Hub's cache; resumes a download cut short.

    only: the one file of it that is wanted.

    The cache names the returned folder after the commit. Offline, only the cache is asked. ModelError or DataError
    when there is no such repository or revision, when access is refused, and when the Hub can't be reached.
    """
    from huggingface_hub import snapshot_download

    with telling(kind, ref, revision):
        return Path(
            snapshot_download(
                ref,
                repo_type=kind,
                revision=revision,
                local_dir=folder,
                ignore_patterns=list(_UNWANTED) if kind == "model" else None,
                allow_patterns=only,
                endpoint=os.environ.get("HF_ENDPOINT"),
                local_files_only=folder is None and offline(),
            )
        )


@contextmanager
def telling(kind: Kind, ref: str, revision: str | None) -> Iterator[None]:
    """What the Hub's client raises in the block becomes a ModelError (or DataError, of a dataset) with a remedy."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    failure: type[PosttrainError] = ModelError if kind == "model" else DataError
    try:
        yield
    except GatedRepoError:
        raise failure(f"{ref} is gated. Accept its licence on its page on the Hub and set HF_TOKEN.") from None
    except RevisionNotFoundError:
        raise failure(f"the Hub has no revision {revision!r} of {ref}. Its page lists branches and commits.") from None
    except RepositoryNotFoundError:
        raise NotOnHubError(
            f"the Hub has no {kind} {ref!r} that this account may read. Check the name; for a private one set HF_TOKEN."
        ) from None
    except HFValidationError:
        raise failure(
            f"{ref!r} is neither a folder here nor a hub name. Write the path of a folder, or org/name."
        ) from None
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", "no")
        raise failure(
            f"the Hub answered {status} to a request for {ref}. Try again later. {unreachable(kind, ref, revision)}"
        ) from None
    except transport_errors():
        raise failure(
            f"{ref} is a hub name, but the Hub can't be reached. {unreachable(kind, ref, revision)}"
        ) from None


def transport_errors() -> tuple[type[BaseException], ...]:
    """What the Hub's client lets through when there is no connection: its HTTP library changes with its version."""
    libraries = [sys.modules[name] for name in ("httpx", "httpx2") if name in sys.modules]
    return (OSError, *(library.HTTPError for library in libraries))


def offline() -> bool:
    """Whether the environment says that there is no Hub to ask."""
    return any(os.environ.get(name, "").upper() in ("1", "TRUE", "YES", "ON") for name in _OFFLINE)


_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE")


def unreachable(kind: Kind, ref: str, revision: str | None) -> str:
    """The remedy for a node without network."""
    name, wanted = ref, f" --revision {revision}" if revision else ""
    for short, named in NAMES.items():
        if kind == "dataset" and (named.repository, named.revision) == (ref, revision):
            name, wanted = short, ""
    return (
        f"Where there is network run `posttrain fetch {name} --to mirror{wanted}`, copy the folder here and set "
        f"{VARIABLE} to it."
    )
