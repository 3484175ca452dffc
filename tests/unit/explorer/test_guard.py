"""Who may ask: the token, the cookie, the Host, the Origin, and nothing but reading."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient
from tests.unit.explorer.conftest import PORT, TOKEN

from posttrain.explorer.app import application
from posttrain.explorer.pages.table import PAGES
from posttrain.explorer.site import Site

HERE = f"http://127.0.0.1:{PORT}"


@pytest.fixture
def stranger(site: Site) -> TestClient:
    return TestClient(application(site, TOKEN, PORT), base_url=HERE)


@pytest.mark.parametrize("path", ["/", *(f"/{name}" for name in PAGES), "/raw", "/assets/explorer.js", "/nothing"])
def test_without_the_token_every_address_is_refused(stranger: TestClient, path: str) -> None:
    answer = stranger.get(path)
    assert answer.status_code == 403
    assert "made/" not in answer.text


def test_the_wrong_token_or_cookie_opens_nothing(stranger: TestClient) -> None:
    assert stranger.get("/runs", params={"token": "wrong"}).status_code == 403
    assert stranger.get("/runs", params={"token": ""}).status_code == 403
    assert stranger.get("/runs", headers={"cookie": f"posttrain-explorer-{PORT}=wrong"}).status_code == 403
    assert stranger.get("/runs", headers={"cookie": "\x01;;=;=bad"}).status_code == 403


def test_the_right_token_becomes_a_cookie_and_leaves_the_address(stranger: TestClient) -> None:
    answer = stranger.get("/map", params={"token": TOKEN, "sort": "flips", "x": '"><script>'})
    assert answer.status_code == 200
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert 'url=/map?sort=flips&amp;x=%22%3E%3Cscript%3E"' in answer.text
    assert TOKEN not in answer.text
    assert stranger.get("/map").status_code == 200


def test_the_way_in_leads_to_this_server_only(stranger: TestClient) -> None:
    for path in ("/%2Fexample.com", "/%5C%5Cexample.com", "/%2F%5Cexample.com/x"):
        answer = stranger.get(path, params={"token": TOKEN})
        assert answer.status_code == 200
        assert "url=/example.com" in answer.text


@pytest.mark.parametrize("host", ["example.com", "127.0.0.1", f"127.0.0.1:{PORT + 1}", f"example.com:{PORT}", ""])
def test_another_name_for_this_address_is_refused(client: TestClient, host: str) -> None:
    assert client.get("/runs", headers={"host": host}).status_code == 421


@pytest.mark.parametrize(
    "origin", ["https://example.com", "null", f"http://127.0.0.1:{PORT + 1}", f"https://127.0.0.1:{PORT}"]
)
def test_another_origin_is_refused_even_with_the_cookie(client: TestClient, origin: str) -> None:
    assert client.get("/runs", headers={"origin": origin}).status_code == 403


@pytest.mark.parametrize("site_said", ["cross-site", "same-site"])
def test_another_sites_page_cant_embed_or_fetch(client: TestClient, site_said: str) -> None:
    asked = {"sec-fetch-site": site_said, "sec-fetch-dest": "script"}
    assert client.get("/runs", headers=asked).status_code == 403


def test_ones_own_origin_is_let_in(client: TestClient) -> None:
    assert client.get("/runs", headers={"origin": HERE, "sec-fetch-site": "same-origin"}).status_code == 200
    assert client.get("/runs", headers={"host": f"localhost:{PORT}"}).status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_nothing_but_reading_is_taken(client: TestClient, method: str) -> None:
    assert client.request(method, "/runs").status_code == 405


@pytest.mark.parametrize("path", ["/runs", "/assets/explorer.css", "/nothing"])
def test_every_answer_forbids_inline_script_and_outside_addresses(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize(
    "path",
    [
        "/assets/../app.py",
        "/assets/..%2f..%2fapp.py",
        "/assets//etc/passwd",
        "/assets/%2e%2e/guard.py",
        "/raw?set=../../etc",
        "/raw?set=sweep/../rl&problem=x",
        "/map?series=../../other",
        "/compare?a=/etc/passwd&b=/etc/passwd",
    ],
)
def test_nothing_outside_the_folder_has_an_address(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert "root:" not in answer.text
    assert "import" not in answer.text
