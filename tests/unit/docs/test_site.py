"""The documentation as a site: it builds without a warning, and every link in it leads somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from tools.docsite.assemble import assemble, navigation, page_places
from tools.docsite.check import problems

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole site, built as `make docs` builds it: warnings and broken links end with code 1."""
    pytest.importorskip("sphinx", reason="Sphinx is not installed: make install does it")
    out = tmp_path_factory.mktemp("docs") / "site"
    told = [sys.executable, "-m", "tools.docsite", str(out)]
    done = subprocess.run(told, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def test_the_site_builds_without_warnings_and_broken_links(site: Path) -> None:
    assert (site / "index.html").is_file()
    assert (site / "searchindex.js").is_file()


def test_every_page_is_in_the_navigation() -> None:
    places = page_places(ROOT)
    listed = {"index.md"}
    for source in places:
        for pages in navigation((ROOT / source).read_text(encoding="utf-8"), source, places).values():
            listed.update(pages)
    assert set(places.values()) - listed == set(), (
        "list it under a heading of docs/index.md, or link it from the page above"
    )


def test_formulas_are_drawn_by_what_the_site_brings(site: Path) -> None:
    page = (site / "algorithms" / "grpo.html").read_text(encoding="utf-8")
    assert page.count('<div class="math">') == 2
    assert "_static/katex/katex.min.js" in page
    assert (site / "_static" / "katex" / "fonts" / "KaTeX_Main-Regular.woff2").is_file()
    assert "katex" not in (site / "install.html").read_text(encoding="utf-8")


def _made(folder: Path, **pages: str) -> Path:
    for name, body in pages.items():
        (folder / f"{name}.html").write_text(f"<html><body>{body}</body></html>", encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('<a href="there.html">', "index.html: there.html leads nowhere"),
        ('<a href="other.html#below">', "index.html: other.html#below: no such place on that page"),
        ('<a href="../outside.html">', "index.html: ../outside.html leads nowhere"),
        ('<img src="lost.png">', "index.html: lost.png leads nowhere"),
        ('<script src="https://cdn.example/x.js"></script>', "loads https://cdn.example/x.js from another machine"),
        ('<link rel="stylesheet" href="//fonts.example/x.css">', "loads //fonts.example/x.css from another machine"),
    ],
)
def test_what_leads_nowhere_or_elsewhere_is_told(body: str, said: str, tmp_path: Path) -> None:
    (line,) = problems(_made(tmp_path, index=body, other='<p id="above">'))
    assert said in line


def test_links_that_stand_are_not_told(tmp_path: Path) -> None:
    body = '<a href="other.html#above"><a href="#here"><p id="here"><a href="https://example.org/x">'
    assert problems(_made(tmp_path, index=body, other='<p id="above">')) == []


def test_a_style_that_asks_another_machine_is_told(tmp_path: Path) -> None:
    (tmp_path / "site.css").write_text("@font-face { src: url(https://fonts.example/a.woff2) }", encoding="utf-8")
    assert problems(tmp_path) == ["site.css: asks another machine for something"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    (root / "docs" / "a").mkdir(parents=True)
    (root / "docs" / "index.md").write_text("# P\n\n## Start\n\n- [A](a.md): x\n- [How](../CONTRIBUTING.md)\n")
    (root / "docs" / "a.md").write_text("# A\n\n[B](a/b.md), [data](../data/x.json)\n\n```text\n[no](link.md)\n```\n")
    (root / "docs" / "a" / "b.md").write_text("# B\n\n[up](../a.md#a)\n")
    (root / "CONTRIBUTING.md").write_text("# C\n\n[A](docs/a.md)\n")
    (root / "data").mkdir()
    (root / "data" / "x.json").write_text("{}")
    return root


def test_the_sidebar_is_the_index_and_links_are_moved_with_their_pages(project: Path, tmp_path: Path) -> None:
    into = tmp_path / "sources"
    assemble(project, into)
    index = (into / "index.md").read_text()
    assert "[How](contributing.md)" in index
    assert "```{toctree}\n:hidden:\n:caption: Start\n\n/a.md\n/contributing.md\n```" in index
    page = (into / "a.md").read_text()
    assert "[data](files/data/x.json)" in page
    assert "[no](link.md)" in page, "code is left alone"
    assert page.endswith("```{toctree}\n:hidden:\n\n/a/b.md\n```\n")
    assert (into / "files" / "data" / "x.json").read_text() == "{}"
    assert "[up](../a.md#a)" in (into / "a" / "b.md").read_text()
    assert "[A](a.md)" in (into / "contributing.md").read_text()


def test_a_link_to_no_file_stops_the_build(project: Path, tmp_path: Path) -> None:
    (project / "docs" / "a.md").write_text("[gone](gone.md)")
    with pytest.raises(FileNotFoundError, match=r"docs/a.md links to gone.md, and there is no such file"):
        assemble(project, tmp_path / "sources")


@pytest.mark.parametrize("page", ["trust.md", "security.md", "extending.md", "site.md"])
def test_files_that_a_page_names_exist(page: str) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    named = re.findall(r"`((?:tests|perf|src|docs|tools)/[\w./-]+)`", text)
    assert [name for name in named if "NAME" not in name and not (ROOT / name).exists()] == []
