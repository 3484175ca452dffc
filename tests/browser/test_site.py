"""The documentation's site in a real browser, wide and narrow: formulas drawn, nothing cut off, nobody asked."""

from __future__ import annotations

import functools
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.real

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("index", "algorithms/grpo", "algorithms/ipo", "reference/stages/rl", "reference/commands", "hardware")


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    pytest.importorskip("sphinx", reason="Sphinx is not installed: make install does it")
    out = tmp_path_factory.mktemp("docs") / "site"
    subprocess.run([sys.executable, "-m", "tools.docsite", str(out)], cwd=ROOT, timeout=300, check=True)
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(out))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("width", [1280, 390])
def test_pages_are_whole_at_any_width_and_ask_nobody_else(width: int, browser: Any, address: str) -> None:
    page = browser.new_page(viewport={"width": width, "height": 844})
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda line: said.append(line.text) if line.type == "error" else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    for name in PAGES:
        page.goto(f"{address}/{name}.html")
        formulas = page.locator("div.math")
        drawn = page.locator("div.math .katex").count()
        assert drawn == formulas.count(), name
        assert page.locator(".katex-error").count() == 0, name
        assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{name} is wider than the window"
    page.close()
    assert [url for url in asked if not url.startswith((address, "data:"))] == []
    assert said == []


def test_searching_finds_a_page_without_a_server_of_its_own(browser: Any, address: str) -> None:
    page = browser.new_page()
    page.goto(f"{address}/search.html?q=canary")
    page.wait_for_selector("#search-results li")
    assert page.locator("#search-results li").count() >= 1
    page.close()
