from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from posttrain.errors import StoreError
from posttrain.store import write_atomic, write_json

FULL_DISK = """
import resource, sys
from pathlib import Path
from posttrain.errors import StoreError
from posttrain.store import write_atomic, write_table
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
target = Path(sys.argv[1])
try:
    if sys.argv[2] == "bytes":
        with write_atomic(target) as file:
            file.write(b"x" * 1_000_000)
    else:
        import os, pyarrow as pa
        write_table(target, pa.table({"noise": [os.urandom(32) for _ in range(10_000)]}))
except StoreError as error:
    print(error)
"""


def test_a_file_that_fails_halfway_leaves_the_old_one_and_no_temporary(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"old": 1})

    def half() -> None:
        with write_atomic(tmp_path / "a.json") as file:
            file.write(b"half")
            raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError):
        half()
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
    assert (tmp_path / "a.json").read_text() == '{\n  "old": 1\n}\n'


@pytest.mark.parametrize("what", ["bytes", "table"])
def test_a_full_disk_is_a_store_error_and_nothing_is_half_written(tmp_path: Path, what: str) -> None:
    """RLIMIT_FSIZE makes writes fail in the kernel, as a full disk does."""
    target = tmp_path / "artifact" / "big.bin"
    target.parent.mkdir()
    target.write_bytes(b"old")
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(target), what], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout.startswith(f"no space left to write {target}. Nothing was half-written: free some space")
    assert target.read_bytes() == b"old"
    assert [p.name for p in target.parent.iterdir()] == ["big.bin"]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 50_000  # only the child was limited


def test_a_folder_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"can't write .*file/a.json: .*\. Nothing was written"):
        write_json(tmp_path / "file" / "a.json", 1)


def test_nan_is_refused_because_other_readers_cannot_parse_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        write_json(tmp_path / "a.json", float("nan"))
    assert list(tmp_path.iterdir()) == []
