"""The pages as a folder."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

import pytest

from posttrain.cli import main
from posttrain.errors import StoreError
from posttrain.explorer.export import export


@pytest.fixture(scope="module")
def pages(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("static") / "out"
    export(made, out)
    return out


def test_every_problem_of_every_series_has_a_page(pages: Path) -> None:
    assert len(list(pages.glob("problem-*.html"))) == 12 + 12 + 12
    assert (pages / "index.html").exists()
    assert not list(pages.glob("search*"))


def test_every_link_is_relative_and_leads_to_a_file(pages: Path) -> None:
    for page in pages.glob("*.html"):
        for link in re.findall(r'(?:href|src|action)="([^"]*)"', page.read_text(encoding="utf-8")):
            assert not re.match(r"[a-z]+:|/", link), (page.name, link)
            if not link.startswith("#"):
                assert (pages / unquote(link.partition("#")[0])).is_file(), (page.name, link)


def test_the_pages_name_no_other_machine_and_forbid_one(pages: Path) -> None:
    html = (pages / "index.html").read_text(encoding="utf-8")
    assert "Content-Security-Policy" in html
    assert not re.search(r"https?://", html)


def test_exporting_again_writes_over_its_own_pages_and_nothing_else(pages: Path, made: Path, tmp_path: Path) -> None:
    export(made, pages)
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(StoreError, match="is not empty"):
        export(made, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]
    with pytest.raises(StoreError, match="lies within"):
        export(made, made / "static")


def test_an_export_leaves_the_run_as_it_was(made: Path, tmp_path: Path) -> None:
    before = sorted(p for p in made.rglob("*") if ".explorer" not in p.parts)
    export(made, tmp_path / "out")
    assert sorted(p for p in made.rglob("*") if ".explorer" not in p.parts) == before


def test_an_empty_run_exports_pages_that_say_so(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    export(tmp_path / "run", tmp_path / "out")
    assert "Nothing has run here yet" in (tmp_path / "out" / "index.html").read_text()
    assert "There are no samples here yet" in (tmp_path / "out" / "map.html").read_text()


def test_the_command_line_exports_and_refuses_with_one_message(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["explore", str(made), "--static", str(tmp_path / "out")])
    assert ended.value.code == 0
    assert "pages" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        main(["explore", str(tmp_path / "absent")])
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "is not a folder" in told
