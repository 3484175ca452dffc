"""The index: whole, up to date, and searched by plain words."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posttrain.explorer.app import open_site
from posttrain.explorer.index import Index, place_of
from posttrain.explorer.library import Library
from posttrain.explorer.reading import rows
from posttrain.explorer.site import Site
from posttrain.explorer.terms import excerpt, parse
from posttrain.store import Manifest


def _all(site: Site) -> list[str]:
    return [row.response for found in site.library.sets().values() for row in rows(found)]


def test_a_search_finds_every_sample_that_says_the_words_and_no_other(site: Site) -> None:
    texts = _all(site)
    for typed, holds in (
        ("wait", lambda t: "Wait" in t),
        ('"let me check"', lambda t: "let me check" in t),
        ("wait alternatively", lambda t: "Wait" in t and "Alternatively" in t),
        ("wait -alternatively", lambda t: "Wait" in t and "Alternatively" not in t),
        ("alternat*", lambda t: "Alternatively" in t),
    ):
        hits = site.index.search(parse(typed).match, None, None, limit=10_000)
        assert hits.count == len(hits.docs) == sum(map(holds, texts)), typed
        assert all(holds(row.response) for _, row in hits.docs)


def test_a_search_can_be_kept_to_a_verdict_and_to_sets(site: Site) -> None:
    match = parse("answer").match
    wrong = site.index.search(match, None, "vwrong", limit=10_000)
    assert wrong.docs
    assert all(row.verdict is not None and row.verdict.correct is False for _, row in wrong.docs)
    some = site.index.search(match, ["sweep/step-000050/made"], None, limit=10_000)
    assert {name for name, _ in some.docs} == {"sweep/step-000050/made"}


@given(st.text(max_size=40))
def test_no_query_is_malformed(site: Site, typed: str) -> None:
    query = parse(typed)
    if query.match:
        site.index.search(query.match, None, "vright")
        site.index.questions(query.match)
        excerpt("some text", query)


def test_words_reach_no_operator_and_no_column() -> None:
    assert parse('verdict:vright OR NEAR("x" 2) ^y').match == '"verdict vright" AND "OR" AND "NEAR x" AND "2" AND "y"'
    assert parse('- * ""').match == ""


def test_the_index_gives_a_problems_samples_as_the_files_have_them(site: Site) -> None:
    series = site.library.series()["rl/rollouts"]
    found = site.index.answers(series.sets, "made/000002")
    for one in series.sets:
        expected = list(rows(one, "made/000002"))
        assert [(r.response, r.verdict, r.reward, r.tokens) for r in found[one.name]] == [
            (r.response, r.verdict, r.reward, r.tokens) for r in expected
        ]
        for a, b in zip(found[one.name], expected, strict=True):
            assert a.token_ids is not None
            assert b.token_ids is not None
            assert a.token_ids.tolist() == b.token_ids.tolist()
            assert a.entropy == pytest.approx(b.entropy, abs=2e-3)
            assert a.logprobs == pytest.approx(b.logprobs, abs=2e-2)


def _opened(run: Path) -> tuple[Library, Index]:
    index = Index(place_of(run))
    index.create()
    return Library(run), index


def test_only_what_changed_is_read_again_and_what_is_gone_goes(made: Path, tmp_path: Path) -> None:
    run = shutil.copytree(made, tmp_path / "run")
    library, index = _opened(run)
    sets = list(library.sets().values())
    assert index.update(sets) == []
    assert index.stale(sets) == []
    folder = run / "sweep" / "step-000050" / "made"
    table = pq.read_table(folder / "samples.parquet")
    names = table.column_names
    at = names.index("response")
    pq.write_table(table.set_column(at, "response", [["xylophone"] * len(table)]), folder / "samples.parquet")
    shutil.rmtree(run / "sweep" / "step-000100")
    sets = list(Library(run).sets().values())
    assert [s.name for s in index.stale(sets)] == ["sweep/step-000050/made"]
    index.update(sets)
    assert index.search(parse("xylophone").match, None, None).count == len(table)
    assert {n for n, _ in index.search(parse("answer").match, None, None, limit=10_000).docs} == {
        s.name for s in sets if s.name != "sweep/step-000050/made"
    }


def test_an_update_that_was_stopped_is_finished_by_the_next(made: Path, tmp_path: Path) -> None:
    run = shutil.copytree(made, tmp_path / "run")
    library, index = _opened(run)
    sets = list(library.sets().values())
    calls = iter(range(100))
    index.update(sets, lambda: next(calls) > 3)
    assert 0 < len(index.stale(sets)) < len(sets)
    index.update(sets)
    whole = index.search(parse("answer").match, None, None, limit=10_000)
    assert whole.count == sum(1 for s in sets for _ in rows(s))


def test_a_torn_file_is_named_and_the_rest_is_indexed(made: Path, tmp_path: Path) -> None:
    run = shutil.copytree(made, tmp_path / "run")
    (run / "sweep" / "step-000050" / "made" / "samples.parquet").write_bytes(b"PAR1")
    library, index = _opened(run)
    (trouble,) = index.update(list(library.sets().values()))
    assert "step-000050" in trouble
    assert index.search(parse("answer").match, None, None).count > 0


def test_an_index_of_another_version_or_a_broken_one_is_made_again(made: Path, tmp_path: Path) -> None:
    index = Index(tmp_path / "x")
    index.path.parent.mkdir()
    index.path.write_bytes(b"no database at all")
    index.create()
    index.update(list(Library(made).sets().values())[:1])
    assert index.search(parse("answer").match, None, None).count > 0


def test_the_index_leaves_manifests_true(site: Site, made: Path) -> None:
    assert site.index.path == made / ".explorer" / "index.sqlite"
    for name in ("problems", "rl", "sweep"):
        manifest = Manifest.read(made / name)
        assert manifest is not None
        manifest.verify(made / name)


def test_a_folder_that_cant_be_written_has_its_index_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert place_of(tmp_path).is_relative_to(tmp_path / "cache" / "posttrain" / "explorer")


def test_two_explorers_of_one_run_share_an_index(made: Path, tmp_path: Path) -> None:
    run = shutil.copytree(made, tmp_path / "run", ignore=shutil.ignore_patterns(".explorer"))
    first, second = open_site(run), open_site(run)
    keepers = [s.keeper for s in (first, second) if s.keeper is not None]
    for keeper in keepers:
        keeper.start()
    done = threading.Event()
    for _ in range(200):
        if first.index.path.exists() and keepers[1].progress().waiting == 0:
            break
        done.wait(0.05)
    assert second.index.search(parse("answer").match, None, None).count > 0
    for keeper in keepers:
        keeper.close()
        assert not keeper.is_alive()


def test_before_there_is_an_index_pages_read_the_files(made: Path, tmp_path: Path) -> None:
    run = shutil.copytree(made, tmp_path / "run", ignore=shutil.ignore_patterns(".explorer"))
    opened = open_site(run)
    series = opened.library.series()["sweep/made"]
    assert all(len(found) == 2 for found in opened.answers(series.sets, "made/000001").values())
    assert opened.index.search("x", None, None).docs == []
