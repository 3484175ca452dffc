"""What stands in the way of a push, as a message for a person: the token, the name, the quota, the network.

The token is read from HF_TOKEN when it is needed; it is in no file, no message and no log.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from posttrain.errors import PosttrainError
from posttrain.hub.download import transport_errors

TOKEN = "HF_TOKEN"  # the variable's name
_QUOTA = ("quota", "storage limit", "storage space", "exceeded")
_FULL = (402, 413, 507)
_PART = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?"
_NAME = re.compile(f"{_PART}/{_PART}")


class PushError(PosttrainError, RuntimeError):
    """The Hub did not take something, or it must not be sent."""


@dataclass(slots=True)
class Progress:
    """How far a push has come: files and bytes that the Hub's repository has, of all that are to be there."""

    files: int = 0
    size: int = 0
    of_files: int = 0
    of_size: int = 0

    def __str__(self) -> str:
        return f"{self.files} of {self.of_files} files ({in_bytes(self.size)} of {in_bytes(self.of_size)})"


def in_bytes(size: float) -> str:
    """For people: 512 B, 1.5 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def check_token(repo: str) -> None:
    """PushError where `repo` is no name of a repository, and where the environment has no usable token."""
    check_name(repo)
    token = os.environ.get(TOKEN)
    if not token:
        raise PushError(
            f"pushing to {repo} needs a token with write access, and {TOKEN} is not set. Make one on the Hub's page "
            f"for access tokens and set {TOKEN}; it is read from the environment only."
        )
    if not token.isascii() or not token.isprintable() or " " in token:
        raise PushError(
            f"the token in {TOKEN} holds characters that no HTTP header can carry. Copy it again, whole and alone."
        )


def check_name(repo: str) -> None:
    """PushError where `repo` is not owner/name in the Hub's letters."""
    if not _NAME.fullmatch(repo) or "--" in repo or ".." in repo or repo.endswith(".git"):
        raise PushError(
            f"{repo!r} is no name of a repository. Write owner/name; a name has letters, digits, '-', '_' and '.', and "
            "at most 96 of them."
        )


@contextmanager
def refusals(repo: str, api: Any, progress: Progress) -> Iterator[None]:
    """What the Hub's client raises in the block becomes a PushError that says why, what landed, and how to go on."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        yield
    except HFValidationError as error:
        raise PushError(f"the Hub's client refuses {repo!r}: {_first(str(error))}") from None
    except HfHubHTTPError as error:
        raise PushError(_refused(repo, api, error, progress)) from None
    except (ValueError, KeyError, RuntimeError) as error:  # what the client makes of a failed upload or an odd answer
        if isinstance(error, PushError):
            raise
        if isinstance(error.__cause__, HfHubHTTPError):
            raise PushError(_refused(repo, api, error.__cause__, progress)) from None
        raise PushError(f"the Hub refused files for {repo}: {_first(str(error))} {_later(progress)}") from None
    except transport_errors() as error:
        raise PushError(
            f"the Hub can't be reached to push to {repo} ({type(error).__name__}). {_later(progress)}"
        ) from None


def _refused(repo: str, api: Any, error: Any, progress: Progress) -> str:
    status = getattr(error.response, "status_code", 0)
    said = _first(getattr(error, "server_message", None) or "")
    told = f" It says: {said}" if said else ""
    if status in _FULL or any(word in said.lower() for word in _QUOTA):
        return (
            f"the storage behind {repo} is full (the Hub answered {status}).{told} Free or buy some. {_later(progress)}"
        )
    if status in (401, 403):
        denied = f"the token in {TOKEN} may not write to {repo} (the Hub answered {status}).{told}"
        return f"{denied} {_permission(api, repo)} {_later(progress)}"
    return f"the Hub answered {status} to a push to {repo}.{told} {_later(progress)}"


def _permission(api: Any, repo: str) -> str:
    """Which permission the token has and which is needed, as far as the Hub tells."""
    from huggingface_hub.errors import HfHubHTTPError

    owner = repo.partition("/")[0]
    needed = f"Needed is a token with the role 'write', or a fine-grained one with 'repo.write' for {owner}"
    expected: tuple[type[BaseException], ...] = (HfHubHTTPError, KeyError, TypeError, ValueError, *transport_errors())
    try:
        told = api.whoami()
        access = told["auth"]["accessToken"]
        role, name = _first(str(access["role"])), _first(str(told["name"]))
    except expected:
        return f"{needed}."
    if role == "write":
        owners = [name, *(_first(str(each.get("name"))) for each in told.get("orgs") or ())]
        return f"The token has the role 'write', but {name} may write to {', '.join(owners)} and not to {owner}."
    return f"{needed}; this one has the role '{role}'."


def _first(text: str) -> str:
    """One line, without anything that looks like the token."""
    token = os.environ.get(TOKEN) or ""
    line = " ".join(text.replace(token, "***").split()) if token else " ".join(text.split())
    return line[:200]


def _later(progress: Progress) -> str:
    if progress.files:
        return f"The Hub has {progress}; the same push again sends the rest."
    return "What is on this disk stays; `posttrain push FOLDER` sends it later."
