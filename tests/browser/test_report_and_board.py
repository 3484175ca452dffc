"""Report and leaderboard in a real browser: drawn from files and from the server, on a screen and on a phone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.leaderboard.makers import HOSTILE, problems, submit
from tests.unit.report.fake_sweep import make_sweep

from posttrain.judge import JudgeConfig
from posttrain.judge.stages import judge
from posttrain.leaderboard.build import Builder
from posttrain.leaderboard.export import write_site
from posttrain.leaderboard.pages import Site, make_site
from posttrain.leaderboard.server import BoardServer
from posttrain.report.config import ReportConfig
from posttrain.report.stages import report
from posttrain.stage import Workspace

pytestmark = pytest.mark.real

SIZES = {"desktop": {"width": 1360, "height": 900}, "phone": {"width": 390, "height": 844}}


@pytest.fixture(scope="module")
def page_of_report(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A sweep of eight checkpoints, judged."""
    run = tmp_path_factory.mktemp("report")
    swept = make_sweep(run, {50 * i: 0.1 + 0.07 * i for i in range(8)})
    tasks = [{"task": "correctness"}, {"task": "quality", "limit": 5}]
    judged = judge(JudgeConfig.model_validate({"tasks": tasks}), [swept], Workspace(run / "judged", quiet=True))
    made = report(ReportConfig(title=HOSTILE), [swept], Workspace(run / "report", quiet=True), [judged])
    return (made.path / "report.html").as_uri()


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("board") / "all"
    curve = [{"seconds": 5, "accuracy": 0.6}]
    submit(folder / "a", "good", 0.8, curve=curve, seconds=75, hardware=HOSTILE, model="m" * 80)
    submit(folder / "b", HOSTILE, 0.2, claimed=0.9, description=HOSTILE)
    submit(folder / "c", "a-name-without-any-blank-" * 3, 0.75)
    (folder / "d").mkdir()
    (folder / "d" / "submission.json").write_text("{}")
    return make_site(Builder([folder], title="Board", problems=[problems()]).build())


@pytest.fixture
def served(board: Site) -> Iterator[str]:
    server = BoardServer(board, "127.0.0.1", 0)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server.url
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(params=[(size, theme) for size in SIZES for theme in ("light", "dark")], ids="-".join)
def page(request: pytest.FixtureRequest, browser: Any) -> Iterator[Any]:
    """A page in which nothing may go wrong, be asked of another machine, or open a dialog."""
    size, theme = request.param
    context = browser.new_context(viewport=SIZES[size], color_scheme=theme)
    page = context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda m: wrong.append(m.text) if m.type in ("error", "warning") else None)
    page.on("dialog", lambda d: wrong.append(d.message))
    page.on("request", lambda r: None if r.url.startswith(("file:", "http://127.0.0.1:")) else wrong.append(r.url))
    yield page
    assert wrong == []
    context.close()


def fits(page: Any) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth + 1"))


def test_a_report_of_a_judged_sweep_is_drawn_and_fits(page: Any, page_of_report: str) -> None:
    page.goto(page_of_report)
    assert fits(page)
    charts = page.locator("section:has(h2:has-text('Over checkpoints')) figure svg")
    assert charts.count() >= 4
    assert page.locator("svg .mark").count() == 1, "the best step is marked"
    band = page.locator("svg path.band").first
    assert band.evaluate("e => getComputedStyle(e).fill") not in ("none", "rgb(0, 0, 0)")
    assert page.locator("section:has(h2:has-text('by scripted')) table").count() >= 3
    outside = page.evaluate("""() => [...document.querySelectorAll('svg')].filter(svg => {
      const box = svg.getBoundingClientRect();
      return [...svg.querySelectorAll('text')].some(t => t.getBoundingClientRect().left < box.left - 12);
    }).length""")
    assert outside == 0, "a label stands outside of its chart"


def test_a_board_is_drawn_served_and_from_files(page: Any, served: str, board: Site, tmp_path: Path) -> None:
    write_site(board, tmp_path / "site")
    for address in (served, (tmp_path / "site" / "index.html").as_uri()):
        page.goto(address)
        assert fits(page)
        assert page.locator("tbody tr").count() == 3
        page.locator("tbody th a").nth(1).click()
        page.wait_for_url("**/entry/*")
        assert fits(page)
        page.locator(".kicker a").click()
        page.wait_for_url("**/index.html")
