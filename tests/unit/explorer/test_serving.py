"""Starting the server: its port, its extra, its end."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from posttrain.errors import StoreError
from posttrain.explorer.app import bind


def test_a_port_that_is_taken_is_told_with_a_way_on() -> None:
    taken = bind(0)
    with pytest.raises(StoreError, match=r"can't listen on 127.0.0.1 port \d+.*Take another --port"):
        bind(taken.getsockname()[1])
    taken.close()


def test_without_the_extra_one_message_says_what_to_install(made: Path) -> None:
    code = (
        f"import sys; sys.modules['starlette'] = None\nfrom posttrain.cli import main; main(['explore', {str(made)!r}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "pip install 'posttrain[explore]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_opening_the_pages_imports_no_torch(made: Path) -> None:
    code = (
        "import sys, pathlib\n"
        "from posttrain.explorer.app import open_site, PAGES, render\n"
        f"site = open_site(pathlib.Path({str(made)!r}))\n"
        "for name in ('runs', 'map', 'compare', 'lineage'): render(site, name, PAGES[name].make(site, {}))\n"
        "print('torch' in sys.modules, 'transformers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_the_command_serves_what_it_prints_and_ends_with_ctrl_c(made: Path) -> None:
    code = f"from posttrain.cli import main; main(['explore', {str(made)!r}, '--port', '0'])"
    server = subprocess.Popen(
        [sys.executable, "-u", "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
    )
    try:
        assert server.stdout is not None
        found = re.search(r"http://127\.0\.0\.1:(\d+)/runs\?token=(\S+)", server.stdout.readline())
        assert found is not None
        with httpx.Client(base_url=f"http://127.0.0.1:{found[1]}", timeout=30) as client:
            assert client.get("/runs").status_code == 403
            assert client.get("/runs", params={"token": found[2]}).status_code == 200
            assert "Checkpoints" in client.get("/map").text
        with socket.socket() as other:
            other.settimeout(5)
            other.connect(("127.0.0.1", int(found[1])))
            other.sendall(b"GET /runs HTTP/1.1\r\nHost: evil.example\r\n\r\n")
            assert b" 421 " in other.recv(200)
    finally:
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=15)  # which closes its pipes too
    assert server.returncode == 0
