"""Pushes beside training: a thread sends checkpoints one after another, and training waits only at the very end.

`.push.json` in the stage's folder says what was sent and what was not. It is no part of the artifact (a commit's id is
not reproducible), and it is what a later `posttrain push` goes on from.
"""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from posttrain.hub.push import Existing, PushError, check_token, push_folder
from posttrain.hub.refusals import in_bytes
from posttrain.models.base import for_others
from posttrain.store import write_json
from posttrain.training.config import PushConfig

if TYPE_CHECKING:
    from posttrain.stage import Workspace

JOURNAL = ".push.json"


@dataclass(frozen=True, slots=True)
class _Job:
    folder: Path
    revision: str
    main: bool


@dataclass(slots=True)
class Pusher:
    """One thread; a push that fails is said, written down and tried once more at the end, and training goes on."""

    config: PushConfig
    work: Workspace
    sent: dict[str, dict[str, Any]] = field(default_factory=dict)  # revision → folder, repo, commit or error
    _jobs: queue.Queue[_Job | None] = field(default_factory=queue.Queue)
    _thread: threading.Thread | None = None

    @classmethod
    def open(cls, config: PushConfig, work: Workspace) -> Pusher:
        """Starts the thread, and gives it what an interrupted attempt left unsent. PushError without a token."""
        check_token(config.repo)
        pusher = cls(config, work, read_journal(work.dir))
        pusher._thread = threading.Thread(target=pusher._run, daemon=True, name="push")
        pusher._thread.start()
        for revision, facts in list(pusher.sent.items()):
            if "commit" not in facts and (work.dir / facts["folder"]).is_dir():
                pusher.add(work.dir / facts["folder"], revision, main=bool(facts.get("main")))
        return pusher

    def add(self, folder: Path, revision: str, *, main: bool = False) -> None:
        """Sends `folder` as the branch `revision` (and as `main`) as soon as what came before is sent."""
        if self.sent.get(revision, {}).get("commit") and not main:
            return  # before an interruption
        self._note(revision, {"folder": str(folder.relative_to(self.work.dir)), "main": main})
        self._jobs.put(_Job(folder, revision, main))

    def waits_for(self, folder: Path) -> bool:
        """Whether a folder is still to be sent, and so must stay."""
        name = str(folder.relative_to(self.work.dir))
        return any(facts["folder"] == name and "commit" not in facts for facts in self.sent.values())

    def finish(self) -> None:
        """Waits for what is under way, tries once more what failed, and says what the Hub has and has not."""
        failed = self._drain()
        for revision in failed:
            facts = self.sent[revision]
            self._send(_Job(self.work.dir / facts["folder"], revision, bool(facts.get("main"))))
        failed = [revision for revision, facts in self.sent.items() if "commit" not in facts]
        self.work.summarise(pushed=len(self.sent) - len(failed), push_failed=len(failed))
        if failed:
            self.work.note(f"not on the Hub: {', '.join(failed)}. Later: posttrain push {self.work.dir}")

    def _drain(self) -> list[str]:
        self._jobs.put(None)
        assert self._thread is not None
        self._thread.join()
        return [revision for revision, facts in self.sent.items() if "commit" not in facts]

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            self._send(job)

    def _send(self, job: _Job) -> None:
        facts: dict[str, Any] = {"folder": str(job.folder.relative_to(self.work.dir)), "main": job.main}
        try:
            commit = send(
                job.folder, self.config.repo, job.revision, job.main, self.config.private, self.config.existing
            )
        except PushError as error:
            self._note(job.revision, {**facts, "error": str(error)})
            self.work.note(f"push of {job.revision} failed: {error}")
        else:
            self._note(job.revision, {**facts, "commit": commit})

    def _note(self, revision: str, facts: dict[str, Any]) -> None:
        self.sent[revision] = facts
        write_json(
            self.work.dir / JOURNAL,
            {
                "repo": self.config.repo,
                "private": self.config.private,
                "existing": self.config.existing,
                "sent": self.sent,
            },
        )


def send(folder: Path, repo: str, revision: str, main: bool, private: bool, existing: Existing) -> str:
    """One folder as one revision, of an adapter without paths of this machine; PushError where the Hub refuses it."""
    branches = [revision, "main"] if main else [revision]
    message, replaced = f"{folder.name}: {revision}", for_others(folder)
    return push_folder(folder, repo, branches, private=private, message=message, replaced=replaced, existing=existing)


def read_journal(stage: Path) -> dict[str, dict[str, Any]]:
    """revision → what became of it, as an earlier attempt wrote it down."""
    path = stage / JOURNAL
    if not path.is_file():
        return {}
    sent: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["sent"]
    return sent


def push_later(stage: Path, existing: Existing | None = None) -> Iterator[tuple[str, str]]:
    """Sends what a finished or interrupted stage could not send; yields (revision, commit).

    existing: as `push_parcel`, in place of what the stage was told. PushError at the first that is refused.
    """
    told: dict[str, Any] = json.loads((stage / JOURNAL).read_text(encoding="utf-8"))
    for revision, facts in told["sent"].items():
        if "commit" in facts:
            continue
        folder = stage / facts["folder"]
        how = existing or told.get("existing", "refuse")
        commit = send(folder, told["repo"], revision, bool(facts.get("main")), told["private"], how)
        told["sent"][revision] = {"folder": facts["folder"], "main": bool(facts.get("main")), "commit": commit}
        write_json(stage / JOURNAL, told)
        yield revision, commit


def waiting(stage: Path) -> Iterator[str]:
    """What `push_later` would send, a line each for people."""
    told: dict[str, Any] = json.loads((stage / JOURNAL).read_text(encoding="utf-8"))
    for revision, facts in told["sent"].items():
        if "commit" not in facts:
            folder = stage / facts["folder"]
            size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            yield f"{folder} → {told['repo']}, branch {revision}: {in_bytes(size)}"
