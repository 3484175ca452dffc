"""Files into a branch of a Hub repository, such that a push that breaks off goes on where it stopped.

What the branch has already, by size and digest, is not sent again. A model's files are one commit: all of them or none.
Anything larger goes in commits of some files each, and its card last, when all that it names is there. What stands in
the repository and differs is never overwritten unasked.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from posttrain.hub.leaks import refuse_leaks
from posttrain.hub.refusals import TOKEN, Progress, PushError, check_token, in_bytes, refusals
from posttrain.store import sha256_file

__all__ = ["CARD", "Existing", "Parcel", "PushError", "Pushed", "RepoType", "check_token", "push_folder", "push_parcel"]

RepoType = Literal["model", "dataset"]
Existing = Literal["refuse", "add", "replace"]
Content = Path | bytes
CARD = "README.md"
# What people and the Hub put into a repository beside what is pushed.
NEUTRAL = (".gitattributes", ".gitignore", CARD, "LICENSE", "LICENSE.md", "LICENSE.txt")
GROUP_FILES = 100  # of one commit, where a parcel may go in several
GROUP_BYTES = 2_000_000_000


@dataclass(frozen=True)
class Parcel:
    """What is to be in a repository: content by path.

    whole: all of it in one commit. title: of the commits. left_out: what was deliberately not packed, for people.
    """

    repo_type: RepoType
    files: Mapping[str, Content]
    title: str
    whole: bool = True
    left_out: tuple[str, ...] = ()

    def sizes(self) -> dict[str, int]:
        """Bytes by path."""
        return {name: _size(content) for name, content in self.files.items()}


@dataclass(frozen=True)
class Pushed:
    """The branch's last commit, what was sent in this push, and the files that were there already."""

    commit: str
    sent: int
    size: int
    kept: int


@dataclass(frozen=True)
class _Standing:
    """A branch before the push. files: (size, git's SHA-1, SHA-256 of a large file) by path.

    own: it has no commit of its own yet, only what it was branched off with.
    """

    name: str
    commit: str
    files: Mapping[str, tuple[int, str, str | None]]
    own: bool = field(default=False)


def push_parcel(
    parcel: Parcel,
    repo: str,
    branches: Sequence[str] = ("main",),
    *,
    private: bool = True,
    existing: Existing = "refuse",
    secrets: Mapping[str, str] | None = None,
    say: Callable[[str], None] | None = None,
) -> Pushed:
    """Makes each of `branches` of `repo` hold the parcel's files; the repository and branches are made where missing.

    existing: what to do where a branch has files that differ or are none of these. refuse: send nothing; add: leave the
    others and replace what differs; replace: afterwards it has these files and no others.
    secrets: values by name that no file may contain, beside those in the environment.
    say: is told of every commit. PushError when a file contains a secret, when the token may not write, when the
    storage is full, and when the Hub can't be reached: it says what landed, and the same call goes on from there.
    """
    check_token(repo)
    refuse_leaks(parcel.files, secrets or {})
    from huggingface_hub import HfApi

    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"), token=os.environ[TOKEN], library_name="posttrain")
    progress = Progress()
    with refusals(repo, api, progress):
        api.create_repo(repo, private=private, exist_ok=True, repo_type=parcel.repo_type)
        standing = [_standing(api, repo, branch, parcel.repo_type) for branch in branches]
        for each in standing:
            if existing == "refuse" and not each.own:
                _refuse_others(parcel, repo, each)
        pushed = [_onto(api, parcel, repo, each, existing, progress, say) for each in standing]
    return pushed[0]


def push_folder(
    folder: Path,
    repo: str,
    branches: list[str],
    *,
    private: bool,
    message: str,
    repo_type: RepoType = "model",
    replaced: Mapping[str, bytes | None] | None = None,
    existing: Existing = "refuse",
) -> str:
    """Commits the files of `folder` to each of `branches`; returns the commit on the first.

    replaced: other content for some files, None for those that stay here. Errors as `push_parcel`.
    """
    files = folder_files(folder, replaced or {})
    return push_parcel(Parcel(repo_type, files, message), repo, branches, private=private, existing=existing).commit


def folder_files(folder: Path, replaced: Mapping[str, bytes | None]) -> dict[str, Content]:
    """Every file of a folder, but for hidden ones, with some contents replaced or left out."""
    found: dict[str, Content] = {}
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.is_file() and not any(part.startswith(".") for part in parts):
            found["/".join(parts)] = path
    for name, content in replaced.items():
        if content is None:
            found.pop(name, None)
        else:
            found[name] = content
    return found


def _standing(api: Any, repo: str, branch: str, repo_type: RepoType) -> _Standing:
    """What a branch has; it is made where there is none."""
    refs = {ref.name: str(ref.target_commit) for ref in api.list_repo_refs(repo, repo_type=repo_type).branches}
    if branch != "main" and branch not in refs:
        api.create_branch(repo, branch=branch, exist_ok=True, repo_type=repo_type)
        refs[branch] = refs.get("main", "")
    files = {}
    for item in api.list_repo_tree(repo, recursive=True, revision=branch, repo_type=repo_type):
        if hasattr(item, "blob_id"):  # a file and no folder
            files[item.path] = (int(item.size), str(item.blob_id), item.lfs.sha256 if item.lfs else None)
    return _Standing(branch, refs.get(branch, ""), files, own=branch != "main" and refs.get(branch) == refs.get("main"))


def _refuse_others(parcel: Parcel, repo: str, standing: _Standing) -> None:
    """PushError where a branch has files that differ from the parcel's, or that are none of them. Cards may change."""
    differing = [n for n, c in parcel.files.items() if n != CARD and n in standing.files and not _same(c, standing, n)]
    foreign = [n for n in standing.files if n not in parcel.files and n not in NEUTRAL]
    if not differing and not foreign:
        return
    said = [
        f"{len(names)} {what} ({_few(names)})"
        for names, what in ((differing, "differ"), (foreign, "are others"))
        if names
    ]
    raise PushError(
        f"{repo} ({standing.name}) has other content already: of its files {' and '.join(said)}. Nothing was sent. "
        "Push to another repository or branch, or say what to do with them: existing: add (replace what differs, leave "
        "the others) or existing: replace (afterwards it has what is sent and nothing else); by hand --existing."
    )


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


def _onto(
    api: Any,
    parcel: Parcel,
    repo: str,
    standing: _Standing,
    existing: Existing,
    progress: Progress,
    say: Callable[[str], None] | None,
) -> Pushed:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    sizes = parcel.sizes()
    todo = [name for name, content in parcel.files.items() if not _same(content, standing, name)]
    clean = existing == "replace" or standing.own
    gone = [n for n in standing.files if n not in parcel.files and n != ".gitattributes"] if clean else []
    _begin(progress, sizes, todo)
    commit, groups = standing.commit, list(_groups(todo, sizes, whole=parcel.whole))
    for number, group in enumerate(groups or ([[]] if gone else [])):
        operations: list[Any] = [
            CommitOperationAdd(path_in_repo=name, path_or_fileobj=_given(parcel.files[name])) for name in group
        ]
        if number == max(len(groups) - 1, 0):
            operations += [CommitOperationDelete(path_in_repo=name, is_folder=False) for name in gone]
        title = parcel.title if len(groups) < 2 else f"{parcel.title} ({number + 1} of {len(groups)})"
        done = api.create_commit(
            repo, operations, commit_message=title, revision=standing.name, repo_type=parcel.repo_type
        )
        commit = str(done.oid)
        progress.files += len(group)
        progress.size += sum(sizes[name] for name in group)
        if say is not None:
            say(f"{standing.name}: {progress}")
    return Pushed(commit, len(todo), sum(sizes[name] for name in todo), len(parcel.files) - len(todo))


def _begin(progress: Progress, sizes: Mapping[str, int], todo: Sequence[str]) -> None:
    progress.of_files, progress.of_size = len(sizes), sum(sizes.values())
    progress.files = len(sizes) - len(todo)
    progress.size = progress.of_size - sum(sizes[name] for name in todo)


def _groups(names: Sequence[str], sizes: Mapping[str, int], *, whole: bool) -> Iterator[list[str]]:
    """Files by commit, the card in the last one."""
    if whole:
        if names:
            yield list(names)
        return
    group: list[str] = []
    for name in sorted(names, key=lambda n: (n == CARD, n)):
        full = len(group) >= GROUP_FILES or sum(sizes[n] for n in group) + sizes[name] > GROUP_BYTES
        if group and (full or name == CARD):
            yield group
            group = []
        group.append(name)
    if group:
        yield group


def _same(content: Content, standing: _Standing, name: str) -> bool:
    """Whether the branch has this very content under this name."""
    there = standing.files.get(name)
    if there is None or there[0] != _size(content):
        return False
    _, blob, large = there
    if large is not None:
        return large == (hashlib.sha256(content).hexdigest() if isinstance(content, bytes) else sha256_file(content))
    data = content if isinstance(content, bytes) else content.read_bytes()
    return blob == hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def _size(content: Content) -> int:
    return len(content) if isinstance(content, bytes) else content.stat().st_size


def _given(content: Content) -> str | bytes:
    return content if isinstance(content, bytes) else str(content)


def describe_parcel(parcel: Parcel, repo: str, branch: str) -> list[str]:
    """What a push would send, a line per file with its size and a sum, for people. Asks nobody."""
    sizes = parcel.sizes()
    width = max((len(name) for name in sizes), default=0)
    lines = [f"to the {parcel.repo_type} repository {repo}, branch {branch}:"]
    lines += [f"  {name:<{width}}  {in_bytes(size)}" for name, size in sizes.items()]
    lines.append(f"  {len(sizes)} files, {in_bytes(sum(sizes.values()))}")
    return lines + [f"  left out: {what}" for what in parcel.left_out]
