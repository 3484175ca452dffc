"""A model or data set folder as one commit on a branch of a Hub repository.

One commit is all of a checkpoint's files or none of them. Files whose bytes the Hub has already are not sent again, so
a push that broke off goes on where it stopped. The token is read from HF_TOKEN when it is needed; it is in no file, no
message and no log.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, Literal

from posttrain.errors import PosttrainError

TOKEN = "HF_TOKEN"  # the variable's name
RepoType = Literal["model", "dataset"]
_QUOTA = ("quota", "storage limit", "storage space", "exceeded")


class PushError(PosttrainError, RuntimeError):
    """The Hub did not take a folder."""


def check_token(repo: str) -> None:
    """PushError where the environment has no token."""
    if not os.environ.get(TOKEN):
        raise PushError(
            f"pushing to {repo} needs a token with write access, and {TOKEN} is not set. Make one on the Hub's page "
            f"for access tokens and set {TOKEN}; it is read from the environment only."
        )


def push_folder(
    folder: Path, repo: str, branches: list[str], *, private: bool, message: str, repo_type: RepoType = "model"
) -> str:
    """Commits the files of `folder` to each of `branches` (made where missing; `main` is always there).

    Returns the commit on the first branch. The repository is made where there is none. PushError when the token has no
    write access, when the repository's storage is full, and when the Hub can't be reached.
    """
    check_token(repo)
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"), token=os.environ[TOKEN], library_name="posttrain")
    try:
        api.create_repo(repo, private=private, exist_ok=True, repo_type=repo_type)
        commits = []
        for branch in branches:
            if branch != "main":
                api.create_branch(repo, branch=branch, exist_ok=True, repo_type=repo_type)
            commits.append(_commit(api, folder, repo, branch, message, repo_type))
    except HFValidationError:
        raise PushError(f"push.repo {repo!r} is no name of a repository. Write org/name.") from None
    except HfHubHTTPError as error:
        raise PushError(_refused(repo, error)) from None
    except (ValueError, KeyError, RuntimeError) as error:  # what the client makes of a failed upload or an odd answer
        if isinstance(error.__cause__, HfHubHTTPError):
            raise PushError(_refused(repo, error.__cause__)) from None
        raise PushError(f"the Hub refused files for {repo}: {_first(str(error))} {_later()}") from None
    except _transport_errors() as error:
        raise PushError(f"the Hub can't be reached to push to {repo} ({type(error).__name__}). {_later()}") from None
    return commits[0]


def _commit(api: Any, folder: Path, repo: str, branch: str, message: str, repo_type: RepoType) -> str:
    from huggingface_hub import CommitOperationAdd

    files = sorted(p for p in folder.rglob("*") if p.is_file())
    operations = [CommitOperationAdd(path_in_repo=str(p.relative_to(folder)), path_or_fileobj=p) for p in files]
    done = api.create_commit(repo, operations, commit_message=message, revision=branch, repo_type=repo_type)
    return str(done.oid)


def _transport_errors() -> tuple[type[BaseException], ...]:
    """What the Hub's client lets through when there is no connection: its HTTP library changes with its version."""
    libraries = [sys.modules[name] for name in ("httpx", "httpx2") if name in sys.modules]
    return (OSError, *(library.HTTPError for library in libraries))


def _refused(repo: str, error: Any) -> str:
    status = getattr(error.response, "status_code", 0)
    said = _first(getattr(error, "server_message", None) or "")
    told = f" It says: {said}" if said else ""
    if status in (402, 413, 507) or any(word in said.lower() for word in _QUOTA):
        return f"the storage behind {repo} is full (the Hub answered {status}).{told} Free or buy some. {_later()}"
    if status in (401, 403):
        denied = f"the token in {TOKEN} may not write to {repo} (the Hub answered {status}).{told}"
        return f"{denied} Give it write access. {_later()}"
    return f"the Hub answered {status} to a push to {repo}.{told} {_later()}"


def _first(text: str) -> str:
    """One line, without anything that looks like the token."""
    token = os.environ.get(TOKEN) or ""
    line = " ".join(text.replace(token, "***").split()) if token else " ".join(text.split())
    return line[:200]


def _later() -> str:
    return "What is on this disk stays; `posttrain push FOLDER` sends it later."
