"""A helper that is asked to end does so well, however often it is asked."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

HELPER = """
import time
from posttrain.talk import listen
_, say = listen()
try:
    say({"up": True})
    time.sleep(60)
finally:
    print("closing", flush=True)
    time.sleep(0.5)
    print("closed", flush=True)
"""


def test_a_second_request_to_end_does_not_break_off_what_the_first_began(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, "-c", HELPER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=sink
        )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b'{"up": true}\n'
        process.terminate()
        while "closing" not in log.read_text():
            time.sleep(0.01)
        process.terminate()
        assert process.wait(60) == 0
    assert log.read_text() == "closing\nclosed\n"
