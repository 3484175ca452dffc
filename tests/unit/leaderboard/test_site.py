from __future__ import annotations

import http.client
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.tags import Tags
from tests.unit.leaderboard.makers import HOSTILE, problems, submit

from posttrain.errors import RecipeError
from posttrain.leaderboard.build import Builder
from posttrain.leaderboard.export import write_site
from posttrain.leaderboard.pages import Site, make_site, span
from posttrain.leaderboard.server import BoardServer, keep_fresh


@pytest.fixture
def site(tmp_path: Path) -> Site:
    curve = [{"seconds": 5, "accuracy": 0.6}]
    submit(tmp_path / "all" / "a", "good", 0.8, curve=curve, seconds=75, hardware=HOSTILE, model=HOSTILE)
    submit(tmp_path / "all" / "b", HOSTILE, 0.2, claimed=0.9, description=HOSTILE)
    (tmp_path / "all" / "<b>bad").mkdir()
    (tmp_path / "all" / "<b>bad" / "submission.json").write_text("{}")
    return make_site(Builder([tmp_path / "all"], title=HOSTILE, problems=[problems()]).build())


@pytest.fixture
def server(site: Site) -> Iterator[BoardServer]:
    made = BoardServer(site, "127.0.0.1", 0)
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes


def ask(server: BoardServer, path: str, method: str = "GET", **headers: str) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=10)
    try:
        connection.request(method, path, headers=headers)
        got = connection.getresponse()
        return Answer(got.status, got.headers, got.read())
    finally:
        connection.close()


def test_text_of_strangers_is_text_on_every_page(site: Site) -> None:
    for name, page in site.pages.items():
        if not name.endswith(".html"):
            continue
        text = page.body.decode()
        tags = Tags(text).tags
        assert not {"script", "img", "iframe", "object", "link", "form", "b" if "entry" in name else "iframe"} & {
            t for t, _ in tags
        }
        assert not any(a.startswith("on") or a in ("src", "style") for _, attributes in tags for a in attributes)
        assert not re.search(r"url\(|@import|https?://|\u202e", text)
        for _, attributes in tags:
            target = attributes.get("href")
            assert target is None or re.fullmatch(r"(\.\./)?(index\.html|board\.json|(schema|entry)/[\w.-]+)", target)
    index = site.pages["index.html"].body.decode()
    assert "&lt;script&gt;alert(1)" in index
    assert "{{7*7}}" in index


def test_the_board_says_rank_interval_n_and_rates_and_marks_a_false_claim(site: Site) -> None:
    index = site.pages["index.html"].body.decode()
    rows = re.findall(r"<tr>.*?</tr>", index, flags=re.S)[1:]
    assert 'rank">1</td>' in rows[0]
    assert 'rank">2</td>' in rows[1]
    assert "claimed 90.0 %" in rows[1]
    assert "1 min 15 s" in rows[0]
    assert rows[0].count('<td class="num">60</td>') == 1
    assert "Not on the board" in index
    assert "&lt;b&gt;bad" in index


def test_every_page_is_served_with_a_strict_policy(server: BoardServer) -> None:
    for path in ("/", "/index.html", "/board.json", "/schema/board.schema.json", *("/" + n for n in server.site.pages)):
        answer = ask(server, path)
        assert answer.status == 200
        assert answer.headers.get("Content-Security-Policy", "").startswith("default-src 'none'; style-src 'sha256-")
        assert "frame-ancestors 'none'" in answer.headers.get("Content-Security-Policy", "")
        assert answer.headers.get("X-Content-Type-Options") == "nosniff"
        assert answer.body


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "MKCOL"])
def test_nothing_but_reading_is_allowed(server: BoardServer, method: str) -> None:
    answer = ask(server, "/index.html", method)
    assert answer.status == 405
    assert answer.headers.get("Allow") == "GET, HEAD"


@pytest.mark.parametrize(
    "path",
    [
        "/../submission.json",
        "/%2e%2e/%2e%2e/etc/passwd",
        "//etc/passwd",
        "/entry/",
        "/x" * 400,
        "/entry/..%2findex.html",
    ],
)
def test_no_path_leads_to_a_file(server: BoardServer, path: str) -> None:
    assert ask(server, path).status == 404


def test_head_has_no_body_and_queries_are_ignored(server: BoardServer) -> None:
    assert ask(server, "/index.html", "HEAD").body == b""
    assert ask(server, "/?q=1").status == 200


def test_a_local_board_is_answered_under_its_own_name_only(server: BoardServer) -> None:
    port = server.server_address[1]
    assert ask(server, "/", Host=f"localhost:{port}").status == 200
    assert ask(server, "/", Host=f"[::1]:{port}").status == 200
    assert ask(server, "/", Host="evil.example").status == 421


def test_a_port_that_is_taken_is_said(site: Site) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(RecipeError, match=f"can't listen on 127.0.0.1 port {port}: .*Take another --port"):
            BoardServer(site, "127.0.0.1", port)


def test_a_new_submission_appears_while_the_board_is_served(tmp_path: Path) -> None:
    submit(tmp_path / "all" / "a", "first", 0.8)
    builder = Builder([tmp_path / "all"], problems=[problems()])
    server = BoardServer(make_site(builder.build()), "127.0.0.1", 0)
    submit(tmp_path / "all" / "b", "second", 0.5)
    made, stop = threading.Event(), threading.Event()

    def make() -> Site:
        site = make_site(builder.build())
        made.set()
        return site

    thread = keep_fresh(server, make, 0.01, lambda text: None, stop)
    assert made.wait(30)
    stop.set()
    thread.join(30)
    server.server_close()
    assert "second" in server.site.pages["index.html"].body.decode()


def test_a_site_is_written_as_files_and_nothing_else_is_overwritten(site: Site, tmp_path: Path) -> None:
    out = tmp_path / "site"
    write_site(site, out)
    written = {str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()}
    assert written == set(site.pages)
    (out / "entry" / "gone.html").write_text("old")
    write_site(site, out)
    assert not (out / "entry" / "gone.html").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(RecipeError, match="holds something else than a board"):
        write_site(site, tmp_path / "mine")


def test_times_for_people() -> None:
    assert [span(s) for s in (None, 4.23, 59.7, 75, 7300)] == ["–", "4.2 s", "1 min 0 s", "1 min 15 s", "2 h 1 min"]
