"""The journal: torn lines, damage, one writer, doubt, a full disk."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.scripted_provider import Script, ScriptedProvider
from tests.unit.providers.asking import questions, teacher_at
from tests.unit.providers.asking import records as lines_of

from posttrain.errors import DamagedError, LockedError, StoreError
from posttrain.providers import Journal, ask
from posttrain.providers import journal as records
from posttrain.providers.ballast import Ballast

KEY, OTHER = "ab" * 32, "cd" * 32


def a_reply(key: str = KEY, body: str = "{}") -> dict[str, object]:
    return records.reply(key, 0, 1, "t", 1.0, status=200, seconds=0.1, body=body, worst=0.5)


def an_intent(key: str = KEY) -> dict[str, object]:
    return records.intent(key, 0, 1, "t", 1.0, 0.5)


def test_replies_are_found_again_by_their_key(tmp_path: Path) -> None:
    with Journal(tmp_path / "j") as journal:
        journal.add([an_intent(), a_reply(body='"é\ud800\\n"')])
    with Journal(tmp_path / "j") as journal:
        assert KEY in journal
        assert OTHER not in journal
        assert journal.read(KEY)["body"] == '"é\ud800\\n"'
        assert not journal.open_intents


@pytest.mark.parametrize("kept", [1, 10, -1])
def test_a_torn_last_line_is_dropped_and_its_key_asked_again(tmp_path: Path, kept: int) -> None:
    with Journal(tmp_path / "j") as journal:
        journal.add([an_intent(), a_reply(), an_intent(OTHER)])
    whole = (tmp_path / "j").read_bytes()
    torn = records.encode(a_reply(OTHER))
    (tmp_path / "j").write_bytes(whole + torn[:kept])
    with Journal(tmp_path / "j") as journal:
        assert KEY in journal
        assert OTHER not in journal
        assert list(journal.open_intents) == [bytes.fromhex(OTHER)]
        journal.add([a_reply(OTHER)])
    assert (tmp_path / "j").read_bytes() == whole + torn


def test_a_torn_first_line_is_a_journal_that_was_just_begun(tmp_path: Path) -> None:
    (tmp_path / "j").write_bytes(records.HEAD[:7])
    with Journal(tmp_path / "j") as journal:
        journal.add([a_reply()])
    with Journal(tmp_path / "j") as journal:
        assert len(journal) == 1


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    with Journal(tmp_path / "j") as journal:
        journal.add([a_reply(), a_reply(OTHER)])
    lines = (tmp_path / "j").read_bytes().splitlines(keepends=True)
    (tmp_path / "j").write_bytes(lines[0] + lines[1][:30] + b"\n" + lines[2])
    with pytest.raises(DamagedError, match="line 2 of"):
        Journal(tmp_path / "j")


def test_an_error_after_a_reply_makes_its_key_eligible_again(tmp_path: Path) -> None:
    with Journal(tmp_path / "j") as journal:
        journal.add([an_intent(), a_reply(), records.error(KEY, 0, 1, "t", 1.0, why="no JSON", doubt=True)])
        assert KEY not in journal
        journal.add([a_reply(body="later")])
    with Journal(tmp_path / "j") as journal:
        assert journal.read(KEY)["body"] == "later"


def test_intents_without_an_outcome_are_in_doubt(tmp_path: Path) -> None:
    with Journal(tmp_path / "j") as journal:
        journal.add([an_intent(), an_intent(OTHER), a_reply(), an_intent(OTHER)])
    with Journal(tmp_path / "j") as journal:
        assert journal.open_intents == {bytes.fromhex(OTHER): 0.5}
        assert journal.doubted == [0.5]  # the one whose process died before


def test_two_processes_do_not_write_one_journal(tmp_path: Path) -> None:
    with Journal(tmp_path / "j"), pytest.raises(LockedError, match="being written by another process"):
        Journal(tmp_path / "j")


def test_a_folder_that_can_not_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="can't write"):
        Journal(tmp_path / "file" / "j")


class Disk:
    """A disk of `capacity` bytes under the journal and its reserve; what a real one does when it is full."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, journal: Path) -> None:
        self.capacity = 1 << 40
        self._journal, self._reserve = journal, journal.with_name(f".{journal.name}.reserve")
        self._pwrite, self._fallocate = os.pwrite, os.posix_fallocate
        monkeypatch.setattr(os, "pwrite", self.pwrite)
        monkeypatch.setattr(os, "posix_fallocate", self.fallocate)

    def used(self) -> int:
        return sum(path.stat().st_size for path in (self._journal, self._reserve) if path.exists())

    def pwrite(self, file: int, data: bytes, offset: int) -> int:
        room = max(0, self.capacity - self.used())
        if len(data) <= room:
            return self._pwrite(file, data, offset)
        if room:
            return self._pwrite(file, data[:room], offset)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fallocate(self, file: int, offset: int, length: int) -> None:
        if length - os.fstat(file).st_size > self.capacity - self.used():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._fallocate(file, offset, length)


def test_a_disk_that_fills_up_stops_the_run_before_a_reply_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "j.jsonl"
    disk = Disk(monkeypatch, path)
    got = 0
    with ScriptedProvider(Script(latency=0.1, text_bytes=2000)) as provider:
        teacher = teacher_at(provider.url, requests_per_minute=60_000)
        with pytest.raises(StoreError, match=r"full|space"):  # noqa: PT012 - what came before counts
            for _ in ask(teacher, questions(2000), path):
                got += 1
                if got == 100:
                    disk.capacity = disk.used()  # someone else takes the rest
        answered = sum(provider.ledger.answered.values())
    assert 100 < got == answered < 2000
    assert len(lines_of(path, "reply")) == answered
    disk.capacity = 1 << 40
    with ScriptedProvider(Script(latency=0.0)) as provider:
        again = list(ask(teacher_at(provider.url), questions(answered + 20), path))
    assert len(again) == answered + 20


def test_too_little_room_for_what_is_on_its_way_stops_before_anything_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Disk(monkeypatch, tmp_path / "j.jsonl").capacity = 100_000
    with ScriptedProvider() as provider:
        with pytest.raises(StoreError, match="MB left"):
            list(ask(teacher_at(provider.url), questions(3), tmp_path / "j.jsonl"))
        assert provider.ledger.arrivals == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[], Path]]:
    """A real file system of 3 MB; the test is skipped where this process may not mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = False

    def mount() -> Path:
        nonlocal mounted
        try:
            made = subprocess.run(
                ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)], capture_output=True, check=False
            )
        except FileNotFoundError:
            pytest.skip("there is no mount")
        if made.returncode:
            pytest.skip(f"this process may not mount a small disk: {made.stderr.decode(errors='replace').strip()}")
        mounted = True
        return folder

    yield mount
    if mounted:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_real_disk_that_is_full_loses_no_reply(small_disk: Callable[[], Path]) -> None:
    folder = small_disk()
    got = 0
    with ScriptedProvider(Script(latency=0.05, text_bytes=4000)) as provider:
        with pytest.raises(StoreError, match=r"full|space"):  # noqa: PT012 - what came before counts
            for _ in ask(teacher_at(provider.url, requests_per_minute=60_000), questions(3000), folder / "j.jsonl"):
                got += 1
        answered = sum(provider.ledger.answered.values())
    assert 0 < got == answered == len(lines_of(folder / "j.jsonl", "reply"))


def test_the_reserve_of_a_killed_process_is_given_back(tmp_path: Path) -> None:
    (tmp_path / "r").write_bytes(b"\0" * 1000)
    ballast = Ballast(tmp_path / "r")
    assert not (tmp_path / "r").exists()
    ballast.hold(10)
    assert (tmp_path / "r").stat().st_size == ballast.size == 1 << 20
    assert ballast.release()
    assert not (tmp_path / "r").exists()
    with pytest.raises(StoreError, match="full"):
        ballast.hold(10)  # another thread, which doesn't know yet: the room belongs to the replies on their way
    assert not (tmp_path / "r").exists()
