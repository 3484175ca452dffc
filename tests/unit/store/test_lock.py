from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from posttrain.errors import LockedError, StoreError
from posttrain.store.lock import locked

HOLD = """
import sys, time
from pathlib import Path
from posttrain.store.lock import locked
with locked(Path(sys.argv[1])) as lock:
    if len(sys.argv) > 2:
        import subprocess
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], pass_fds=[lock])
        print(child.pid, flush=True)
    else:
        print("held", flush=True)
    time.sleep(60)
"""


def holder(folder: Path, *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", HOLD, str(folder), *more], stdout=subprocess.PIPE, text=True)


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_the_second_holder_is_told_who_holds_it_and_since_when(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        said(process)
        with pytest.raises(LockedError, match=rf"is in use by process {process.pid} on .* since 20"), locked(tmp_path):
            pass
        process.kill()
    with locked(tmp_path):
        assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()


def test_sigkill_releases_the_lock(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        said(process)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    with locked(tmp_path):
        pass


def test_a_child_that_inherits_the_lock_holds_it_after_its_parent_died(tmp_path: Path) -> None:
    with holder(tmp_path, "with a child") as process:
        child = int(said(process))
        process.kill()
        process.wait()
    with pytest.raises(LockedError), locked(tmp_path):
        pass
    os.kill(child, signal.SIGKILL)
    for _ in range(100):
        try:
            with locked(tmp_path):
                return
        except LockedError:
            time.sleep(0.02)
    pytest.fail("the lock was not released")


def test_a_lock_whose_holder_has_not_written_its_name_is_still_a_lock(tmp_path: Path) -> None:
    with locked(tmp_path):
        (tmp_path / ".lock").write_text("")
        with pytest.raises(LockedError, match="another process"), locked(tmp_path):
            pass


def test_a_folder_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"can't write to .*file/run"), locked(tmp_path / "file" / "run"):
        pass
