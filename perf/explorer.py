"""Is the explorer quick enough? ``python -m perf.explorer --folder DIR [--json FILE] [--smoke]``.

Two stores made of dice. `pages`: 20 checkpoints × 500 problems × 4 samples; every page's time in the server (its own
Server-Timing) and until Chromium's first contentful paint, cold (the first time) and warm. `million`: 1,000,000
samples; how long the index takes, how large it is, how long searches and SQL take, and the peak memory of the server
together with the process that runs SQL.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import psutil

from perf.explorer_store import Size, make_run
from perf.harness import machine

PAGES_SIZE, PAGES_SMOKE = Size(20, 500, 4), Size(3, 30, 2, rollouts=2)
MILLION, MILLION_SMOKE = Size(20, 12_500, 4, rollouts=2), Size(3, 200, 2, rollouts=1)
QUERIES = (
    "wait",
    '"let me check that again"',
    "xylophone",
    "marbles -wait",
    "alternativ*",
    "the answer is",
    "boxed 17",
    "wait marbles friends",
)
REPEATS = 5
TARGETS = {"server_ms": 300, "paint_ms": 1000, "search_s": 1.0, "memory_mb": 1024}


@dataclass
class Served:
    """A server process and a client that it has let in."""

    process: psutil.Process
    client: httpx.Client
    address: str


@contextmanager
def watched(process: psutil.Process) -> Iterator[list[int]]:
    """[the most resident memory, in bytes, of the server and the processes that it started], looked at all the time."""
    most, ended = [0], threading.Event()

    def look() -> None:
        while not ended.wait(0.01):
            total = 0
            for one in (process, *process.children(recursive=True)):
                with suppress(psutil.NoSuchProcess):
                    total += one.memory_info().rss
            most[0] = max(most[0], total)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield most
    finally:
        ended.set()
        thread.join()


@contextmanager
def served(run: Path) -> Iterator[Served]:
    code = f"from posttrain.cli import main; main(['explore', {str(run)!r}, '--port', '0'])"
    server = subprocess.Popen([sys.executable, "-u", "-c", code], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    found = re.search(r"(http://[^/]+)/runs\?token=\S+", server.stdout.readline())
    assert found is not None, "the server said no address"
    with httpx.Client(base_url=found[1], timeout=600) as client:
        client.get(found[0])
        try:
            yield Served(psutil.Process(server.pid), client, found[0])
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(30)


def page_paths(problem: str) -> dict[str, str]:
    """The pages that are timed."""

    def path(page: str, **params: str) -> str:
        return f"/{page}" + (f"?{urlencode(params)}" if params else "")

    return {
        "runs": path("runs"),
        "map": path("map"),
        "map, sorted": path("map", sort="flips", show="learned"),
        "problem": path("problem", series="sweep/made", problem=problem),
        "problem, rollouts": path("problem", series="rl/rollouts", problem=problem),
        "compare": path("compare"),
        "search": path("search", q="wait"),
        "sql": path("sql", sql="SELECT step, avg(correct::INT) AS accuracy FROM samples GROUP BY ALL ORDER BY step"),
        "data": path("data"),
        "lineage": path("lineage"),
        "certificate": path("certificate"),
    }


def wait_for_index(here: Served) -> float:
    """Seconds until every set is in the index."""
    began = time.monotonic()
    while "still being read" in here.client.get("/search").text:
        time.sleep(0.5)
    return time.monotonic() - began


def time_pages(run: Path, problem: str) -> list[dict[str, Any]]:
    """Server milliseconds of each page: the first time, and the median of five more."""
    rows = []
    with served(run) as here:
        wait_for_index(here)
        for name, path in page_paths(problem).items():
            answers = [here.client.get(path) for _ in range(1 + REPEATS)]
            spent = [float(a.headers["server-timing"].rpartition("dur=")[2]) for a in answers]
            assert {a.status_code for a in answers} == {200}, (name, answers[0].text[:500])
            rows.append(
                {
                    "page": name,
                    "path": path,
                    "bytes": len(answers[0].content),
                    "server_ms_first": spent[0],
                    "server_ms": round(statistics.median(spent[1:]), 1),
                }
            )
        paint = time_paint(here.address, [row["path"] for row in rows])
    for row, told in zip(rows, paint, strict=True):
        row["paint_ms"] = told
    return rows


def time_paint(address: str, paths: list[str]) -> list[float | None]:
    """Milliseconds from navigation to the first contentful paint, median of three; None without a browser."""
    path = next((p for n in ("chromium", "google-chrome") if (p := shutil.which(n))), None)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return [None] * len(paths)
    if path is None:
        return [None] * len(paths)
    flags = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, headless=True, args=flags)
        page = browser.new_page(viewport={"width": 1360, "height": 900})
        page.goto(address)
        page.wait_for_url(lambda url: "token=" not in url)
        base = address.partition("/runs")[0]
        told: list[float | None] = []
        for one in paths:
            times = []
            for _ in range(3):
                page.goto(base + one)
                times.append(_first_paint(page))
            told.append(round(statistics.median(times), 1))
        browser.close()
    return told


def _first_paint(page: Any) -> float:
    while True:
        told = page.evaluate("(performance.getEntriesByName('first-contentful-paint')[0] || {}).startTime")
        if told is not None:
            return float(told)
        page.wait_for_timeout(20)


def time_million(run: Path) -> dict[str, Any]:
    """Index, searches, SQL and memory over the large store."""
    index = run / ".explorer" / "index.sqlite"
    fresh = not index.exists()
    with served(run) as here, watched(here.process) as memory:
        seconds = wait_for_index(here)
        while_indexing = here.process.memory_info().rss
        searches = []
        for query in QUERIES:
            spent = []
            for _ in range(3):
                began = time.perf_counter()
                answer = here.client.get("/search", params={"q": query})
                spent.append(time.perf_counter() - began)
            found = re.search(r"Responses <span class=\"soft\">(.*?) in", answer.text)
            searches.append({"query": query, "seconds": round(max(spent), 3), "found": found[1] if found else ""})
        began = time.perf_counter()
        here.client.get(page_paths("")["sql"])
        sql = time.perf_counter() - began
        began = time.perf_counter()
        status = here.client.get("/map").status_code
        peak = max(_peak(here.process), memory[0])
        return {
            "samples": int(
                re.sub(r"\D", "", re.search(r"([\d,]+) samples can be searched", here.client.get("/search").text)[1])
            ),  # type: ignore[index]
            "index_seconds": round(seconds, 1) if fresh else None,
            "index_gb": round(index.stat().st_size / 2**30, 2),
            "searches": searches,
            "sql_seconds": round(sql, 2),
            "map_seconds": round(time.perf_counter() - began, 2) if status == 200 else None,
            "memory_mb_after_indexing": round(while_indexing / 2**20),
            "memory_mb_peak": round(peak / 2**20),
        }


def _peak(process: psutil.Process) -> int:
    """Of resident memory, in bytes, where the system tells."""
    try:
        told = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
        return 1024 * int(re.search(r"VmHWM:\s+(\d+)", told)[1])  # type: ignore[index]
    except OSError:
        return int(process.memory_info().rss)


def verdicts(result: dict[str, Any]) -> dict[str, bool]:
    pages, million = result["pages"], result["million"]
    painted = [r["paint_ms"] for r in pages if r["paint_ms"] is not None]
    return {
        "every page < 300 ms in the server": max(max(r["server_ms"], r["server_ms_first"]) for r in pages)
        < TARGETS["server_ms"],
        "every page painted < 1 s": bool(painted) and max(painted) < TARGETS["paint_ms"],
        "every search < 1 s": max(s["seconds"] for s in million["searches"]) < TARGETS["search_s"],
        "memory < 1 GB": million["memory_mb_peak"] < TARGETS["memory_mb"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="where the two stores are made, or stand already")
    parser.add_argument("--json", type=Path, help="where the result goes")
    parser.add_argument("--smoke", action="store_true", help="small stores: does it run at all?")
    asked = parser.parse_args()
    sizes = (
        {"pages": PAGES_SMOKE, "million": MILLION_SMOKE} if asked.smoke else {"pages": PAGES_SIZE, "million": MILLION}
    )
    for name, size in sizes.items():
        if not (asked.folder / name / "sweep" / "manifest.json").exists():
            make_run(asked.folder / name, size)
    result = {
        "what": "explorer",
        "machine": machine(),
        "sizes": {name: vars(size) for name, size in sizes.items()},
        "pages": time_pages(asked.folder / "pages", "made/000003"),
        "million": time_million(asked.folder / "million"),
    }
    result["holds"] = verdicts(result)
    for row in result["pages"]:
        paint = f"{row['paint_ms']:7.0f}" if row["paint_ms"] is not None else "      –"
        times = f"{row['server_ms_first']:7.1f} {row['server_ms']:7.1f} ms"
        print(f"{row['page']:20} {times}  paint {paint} ms  {row['bytes']:9,} B")
    print(json.dumps({k: v for k, v in result["million"].items() if k != "searches"}))
    for row in result["million"]["searches"]:
        print(f"{row['query']:30} {row['seconds']:.3f} s  {row['found']}")
    for claim, holds in result["holds"].items():
        print(f"{'holds' if holds else 'FAILS'}  {claim}")
    if asked.json is not None:
        asked.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    if not all(result["holds"].values()):
        sys.exit(1)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    main()
