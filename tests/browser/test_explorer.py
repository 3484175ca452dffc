"""The explorer as a person meets it: every page, keys, differences, search, live curves, the folder of pages, harm."""

from __future__ import annotations

import http.server
import json
import os
import re
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from perf.explorer_store import Size, make_run, manifest
from tests.unit.explorer.test_pages import HOSTILE, hostile_run

from posttrain.explorer.export import export
from posttrain.tracking import Metrics

pytestmark = pytest.mark.real

PAGES = ("runs", "map", "compare", "search", "data", "lineage", "certificate")
SIZES = {"desktop": {"width": 1360, "height": 900}, "phone": {"width": 390, "height": 844}}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = make_run(tmp_path_factory.mktemp("browser") / "demo", Size(6, 40, 2, rollouts=3))
    manifest("rl", "checkpoint", steps=99).write(made / "live")
    holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": "now"}
    (made / "live" / ".lock").write_text(json.dumps(holder))
    metrics = Metrics(made / "live" / "metrics.jsonl")
    metrics.log(1, loss=1.0)
    metrics.log(2, loss=0.9)
    return made


@pytest.fixture(scope="module")
def address(run: Path, serve: Callable[[Path], str]) -> str:
    return serve(run)


class Watched:
    """A page, and everything that went wrong in it."""

    def __init__(self, context: Any) -> None:
        self.page = context.new_page()
        self.wrong: list[str] = []
        self.outside: list[str] = []
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("console", lambda m: self.wrong.append(m.text) if m.type in ("error", "warning") else None)
        self.page.on("request", lambda r: self.outside.append(r.url) if not _inside(r.url) else None)

    def fine(self) -> None:
        assert self.wrong == []
        assert self.outside == []


def _inside(url: str) -> bool:
    return url.startswith(("http://127.0.0.1:", "file://", "data:", "about:"))


@pytest.fixture
def watched(browser: Any, address: str) -> Iterator[Watched]:
    context = browser.new_context(viewport=SIZES["desktop"])
    opened = Watched(context)
    enter(opened.page, address)
    yield opened
    opened.fine()
    context.close()


def enter(page: Any, address: str) -> None:
    page.goto(address)
    page.wait_for_url(lambda url: "token=" not in url)
    page.wait_for_selector("main h1")


def first_paint(page: Any) -> float:
    """Milliseconds from navigation to the first contentful paint, which may still be to come."""
    for _ in range(100):
        told = page.evaluate("(performance.getEntriesByName('first-contentful-paint')[0] || {}).startTime")
        if told is not None:
            return float(told)
        page.wait_for_timeout(50)
    raise AssertionError("nothing was painted")


def base(page: Any) -> str:
    return str(re.match(r"http://[^/]+", page.url)[0])  # type: ignore[index]


@pytest.mark.parametrize("size", list(SIZES))
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_page_is_drawn_without_error_and_fits_its_window(
    browser: Any, address: str, size: str, theme: str
) -> None:
    context = browser.new_context(viewport=SIZES[size], color_scheme=theme)
    opened = Watched(context)
    page = opened.page
    enter(page, address)
    problem = quote("made/000003", safe="")
    paths = [
        *PAGES,
        "search?q=wait",
        "sql?sql=SELECT+model+FROM+samples+LIMIT+3",
        f"problem?series=sweep/made&problem={problem}",
        f"problem?series=rl/rollouts&problem={problem}",
    ]
    for path in paths:
        page.goto(f"{base(page)}/{path}")
        assert page.locator("main h1").first.is_visible(), path
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth + 1"), f"{path} is wider than {size}"
        assert first_paint(page) < 2_000, path
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (dark == "rgb(20, 22, 26)") == (theme == "dark")
    opened.fine()
    context.close()


def test_keys_lead_through_the_pages_the_rows_and_the_problems(watched: Watched) -> None:
    page = watched.page
    page.keyboard.press("2")
    page.wait_for_url("**/map*")
    page.keyboard.press("j")
    page.keyboard.press("j")
    assert page.locator("tr.here").count() == 1
    second = page.locator("main tbody tr").nth(1).locator("a").get_attribute("title")
    page.keyboard.press("Enter")
    page.wait_for_url("**/problem*")
    assert second in page.locator(".id").inner_text()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.locator(".col.at").get_attribute("id") == "col-1"
    page.keyboard.press("j")
    page.wait_for_function("name => !document.querySelector('.id').textContent.includes(name)", arg=second)
    page.keyboard.press("k")
    page.wait_for_function("name => document.querySelector('.id').textContent.includes(name)", arg=second)
    page.keyboard.press("u")
    page.wait_for_url("**/map*")
    page.keyboard.press("?")
    assert page.locator("#keys").is_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    page.keyboard.type("wait 4")
    assert page.locator(".find input").input_value() == "wait 4"
    page.keyboard.press("Enter")
    page.wait_for_url("**/search?q=wait+4")


def test_differences_colours_and_mathematics_switch_and_stay_in_the_address(watched: Watched) -> None:
    page = watched.page
    page.goto(f"{base(page)}/problem?series=rl/rollouts&problem=made%2F000003")
    gone = page.locator(".col:nth-child(2) > .trace del").first
    assert gone.is_visible()
    page.keyboard.press("d")
    assert not gone.is_visible()
    page.keyboard.press("c")
    assert page.url.endswith("#diff=0&colour=entropy")
    token = page.locator(".trace .e5, .trace .e4, .trace .e3").first
    assert token.evaluate("e => getComputedStyle(e).backgroundColor") != "rgba(0, 0, 0, 0)"
    page.reload()
    assert page.evaluate("document.documentElement.dataset.colour") == "entropy"
    assert not page.locator(".col:nth-child(2) > .trace del").first.is_visible()
    before = page.locator(".col:nth-child(1) > .trace").inner_text()
    page.keyboard.press("m")
    assert page.locator(".trace .katex").count() > 0
    page.keyboard.press("m")
    assert page.locator(".trace .katex").count() == 0
    assert page.locator(".col:nth-child(1) > .trace").inner_text() == before
    assert page.locator(".question .katex").count() > 0


def test_the_theme_is_chosen_once_and_kept(watched: Watched) -> None:
    page = watched.page
    page.keyboard.press("t")
    page.keyboard.press("t")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.goto(f"{base(page)}/map")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 22, 26)"


def test_a_cell_of_the_map_opens_the_problem_at_its_checkpoint(watched: Watched) -> None:
    page = watched.page
    page.goto(f"{base(page)}/map")
    page.locator("main tbody tr").nth(2).locator("td.m i").nth(3).click()
    page.wait_for_url("**/problem*")
    assert page.locator(".col.at").get_attribute("id") == "col-3"


def test_searching_finds_marks_and_leads_to_the_trace(watched: Watched) -> None:
    page = watched.page
    page.goto(f"{base(page)}/search")
    page.locator("main input[type=search]").fill('"let me check" wait')
    for _ in range(40):
        page.keyboard.press("Enter")
        page.wait_for_url("**/search?q=*")
        if page.locator(".hits .hit").count():
            break
        page.wait_for_timeout(250)  # the index is still being made
        page.locator("main input[type=search]").focus()
    assert page.locator(".hits .hit").first.inner_text().lower() in ("wait", "let me check")
    page.locator(".hits li a").last.click()
    page.wait_for_url("**/problem*")


def test_curves_grow_while_the_run_goes_on(watched: Watched, run: Path) -> None:
    page = watched.page
    page.goto(f"{base(page)}/runs")
    assert page.locator("h2 .state.running").inner_text() == "step 2 of 99"
    metrics = Metrics(run / "live" / "metrics.jsonl")
    metrics.log(3, loss=0.5)
    page.wait_for_function("() => document.querySelector('h2 .state.running').textContent === 'step 3 of 99'", timeout=8_000)


def test_the_folder_of_pages_works_from_a_file(browser: Any, run: Path, tmp_path: Path) -> None:
    export(run, tmp_path / "out")
    context = browser.new_context(viewport=SIZES["desktop"])
    opened = Watched(context)
    page = opened.page
    page.goto((tmp_path / "out" / "index.html").as_uri())
    page.keyboard.press("2")
    page.wait_for_url("**/map.html")
    rows = page.locator(".map tbody tr").count()
    page.locator('a[data-show="learned"]').click()
    shown = page.locator(".map tbody tr:visible").count()
    assert 0 < shown < rows
    page.locator('a[data-sort="flips"]').click()
    flips = [int(t) for t in page.locator(".map tbody tr:visible td:nth-child(4)").all_inner_texts()]
    assert flips == sorted(flips, reverse=True)
    assert "show=learned" in page.url
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url("**/problem-*")
    assert page.locator(".col").count() == 6
    assert page.locator(".question .katex").count() > 0
    assert page.evaluate("[...document.fonts].some(f => f.status === 'loaded')")
    page.keyboard.press("3")
    page.wait_for_url("**/compare.html")
    assert page.locator("h1.verdict").is_visible()
    opened.fine()
    context.close()


def test_hostile_traces_lie_still(browser: Any, serve: Callable[[Path], str], tmp_path: Path) -> None:
    address = serve(hostile_run(tmp_path / "run"))
    context = browser.new_context(viewport=SIZES["desktop"])
    opened = Watched(context)
    page = opened.page
    page.on("dialog", lambda d: opened.wrong.append(d.message))
    enter(page, address)
    for kind in HOSTILE:
        name = quote(f"<b>\u202e'\"&{kind}", safe="")
        page.goto(f"{base(page)}/problem?series=sweep/bench&problem={name}")
        page.wait_for_selector(".col")
        page.keyboard.press("m")
        page.mouse.move(300, 500)
        assert "owned" not in page.title(), kind
        assert page.locator("main img, main iframe, main a[href^='javascript'], main a[href^='http']").count() == 0, (
            kind
        )
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth + 1"), kind
        widest = page.evaluate(
            "Math.max(0, ...[...document.querySelectorAll('.katex *')].map(e => e.offsetWidth || 0))"
        )
        assert widest < 5_000, kind
    for path in ("runs", "data", "certificate", "lineage", "map?series=traces/traces", "search?q=owned"):
        page.goto(f"{base(page)}/{path}")
        assert "owned" not in page.title()
    opened.fine()
    context.close()


def test_another_sites_page_reads_nothing_and_embeds_nothing(browser: Any, address: str) -> None:
    """A page served by another port of this machine (same site, another origin) that asks with every means."""
    target = str(re.match(r"http://[^/]+", address)[0])  # type: ignore[index]
    html = f"""<!doctype html><title>other</title><script>
    window.got = [];
    const note = (how) => (value) => window.got.push([how, String(value)]);
    Promise.allSettled([
      fetch('{target}/runs', {{credentials: 'include'}}).then(r => r.text()).then(note('fetch')),
      fetch('{target}/runs', {{credentials: 'include', mode: 'no-cors'}}).then(r => r.text())
        .then(t => t && note('no-cors')(t)),
      new Promise((ok, no) => {{ const s = document.createElement('script'); s.src = '{target}/assets/explorer.js';
        s.onload = () => ok(note('script')('ran')); s.onerror = no; document.head.append(s); }}),
    ]).then(() => {{ window.done = true; }});
    </script><iframe src="{target}/runs" width=300 height=200></iframe>"""

    class Other(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(html.encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Other)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    context = browser.new_context()
    page = context.new_page()
    enter(page, address)  # the browser has the cookie
    page.goto(f"http://127.0.0.1:{server.server_address[1]}/")
    page.wait_for_function("() => window.done === true", timeout=10_000)
    assert page.evaluate("window.got") == []
    frame = next((f for f in page.frames if f != page.main_frame), None)
    assert frame is None or "artifacts" not in (frame.locator("body").inner_text() or "")
    page.goto(f"http://localhost:{server.server_address[1]}/")
    page.wait_for_function("() => window.done === true", timeout=10_000)
    assert page.evaluate("window.got") == []
    context.close()
    server.shutdown()
    server.server_close()


def test_without_the_token_a_browser_gets_nothing(browser: Any, address: str) -> None:
    context = browser.new_context()
    page = context.new_page()
    answer = page.goto(address.partition("?")[0])
    assert answer.status == 403
    assert page.goto(re.sub(r"token=.*", "token=wrong", address)).status == 403
    context.close()
