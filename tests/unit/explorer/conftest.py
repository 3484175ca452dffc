"""A small made-up run, and a client that came with the right token."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from perf.explorer_store import Size, make_run
from starlette.testclient import TestClient

from posttrain.explorer.app import application, open_site
from posttrain.explorer.site import Site

PORT = 8707
TOKEN = "right-token"
SMALL = Size(checkpoints=4, problems=12, samples=2, rollouts=2)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run, for tests that only read it."""
    return make_run(tmp_path_factory.mktemp("explorer") / "demo", SMALL)


@pytest.fixture(scope="session")
def site(made: Path) -> Site:
    """With an index that is up to date."""
    opened = open_site(made)
    opened.index.create()
    assert opened.keeper is not None
    opened.keeper.once()
    return opened


def client_of(site: Site) -> TestClient:
    """A browser that has been let in."""
    client = TestClient(application(site, TOKEN, PORT), base_url=f"http://127.0.0.1:{PORT}")
    client.get("/runs", params={"token": TOKEN})
    return client


@pytest.fixture
def client(site: Site) -> Iterator[TestClient]:
    with client_of(site) as client:
        yield client
