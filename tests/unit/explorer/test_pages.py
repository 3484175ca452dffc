"""Every page over the made-up run, and over text that means harm."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from perf.explorer_store import finish, manifest
from starlette.testclient import TestClient
from tests.unit.explorer.conftest import client_of

from posttrain.explorer.app import open_site
from posttrain.explorer.site import Site
from posttrain.records import Problem, Sample, Verdict, problems_to_table, samples_to_tables
from posttrain.store import write_table

PATHS = (
    "/runs",
    "/map",
    "/map?series=rl/validation&sort=flips",
    "/map?series=rl/rollouts&sort=first&show=never",
    "/problem?series=sweep/made&problem=made/000003",
    "/problem?series=rl/rollouts&problem=made/000003&sample=1&against=first",
    "/problem?series=rl/validation&problem=made/000003",
    "/compare",
    "/compare?a=rl/validation/0&b=rl/validation/40",
    "/search",
    "/search?q=wait",
    "/sql",
    "/data",
    "/lineage",
    "/certificate",
)


class Checked(HTMLParser):
    """Tags that must close do, nothing runs inline, and nothing points outside."""

    VOID = ("meta", "link", "input", "br", "img")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            assert not name.startswith("on"), (tag, name)
            assert name != "style", tag
            if name in ("href", "src", "action"):
                assert (value or "").startswith(("/", "#")), value
                assert not (value or "").startswith("//"), value
                self.links.append(value or "")
        if tag == "script":
            assert dict(attrs).get("src"), "an inline script"
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


def checked(html: str) -> Checked:
    parser = Checked()
    parser.feed(html)
    assert parser.open == []
    return parser


@pytest.mark.parametrize("path", PATHS)
def test_every_page_answers_with_well_formed_html(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    checked(answer.text)


def test_every_link_of_every_page_leads_somewhere(client: TestClient) -> None:
    links = {link for path in PATHS for link in checked(client.get(path).text).links if link.startswith("/")}
    assert len(links) > 60
    for link in sorted(links)[:400]:
        assert client.get(link.replace("&amp;", "&")).status_code in (200, 302), link


def test_the_map_has_a_row_for_every_problem_and_a_cell_for_every_checkpoint(client: TestClient) -> None:
    html = client.get("/map").text
    assert html.count("<tr data-tags") == 12
    assert len(re.findall(r"<i class=c[0-4]></i>|<i></i>", html)) == 12 * 4


def test_the_map_can_be_kept_to_what_was_forgotten(client: TestClient, site: Site) -> None:
    board = site.board(site.library.series()["sweep/made"])
    for tag in ("learned", "forgotten", "flipping", "always", "never"):
        expected = sum(tag in t for t in board.tags)
        assert client.get(f"/map?show={tag}").text.count("<tr data-tags") == expected


def test_a_problem_shows_every_checkpoint_with_verdict_extraction_and_differences(client: TestClient) -> None:
    html = client.get("/problem?series=sweep/made&problem=made/000003").text
    assert html.count("<article") == 4
    assert html.count("<del>") > 0
    assert 'class="new"' in html
    assert 'class="v good"' in html or 'class="v bad"' in html
    assert "1 other sample" in html


def test_rollouts_have_colours_for_entropy_log_probability_and_advantage(client: TestClient) -> None:
    html = client.get("/problem?series=rl/rollouts&problem=made/000003").text
    for name in ("entropy", "logprob", "advantage"):
        assert f'data-colour="{name}"' in html
    assert re.search(r'class="e[1-5]', html)
    assert re.search(r'class="[^"]*\bp[1-5]', html)
    assert re.search(r'class="trace a[pn]\d"', html)
    assert "data-colour" not in client.get("/problem?series=sweep/made&problem=made/000003").text


def test_before_and_after_follow_the_order_of_the_map(client: TestClient, site: Site) -> None:
    board = site.board(site.library.series()["sweep/made"])
    names = [board.problems[i] for i in board.order("hardest")]
    html = client.get(f"/problem?series=sweep/made&problem={names[1]}&sort=hardest").text
    before, after = (re.search(rf'rel="{rel}" href="([^"]+)"', html) for rel in ("prev", "next"))
    assert before is not None
    assert after is not None
    assert names[0].replace("/", "%2F") in before[1]
    assert names[2].replace("/", "%2F") in after[1]


def test_comparing_says_what_posttrain_compare_says(client: TestClient, made: Path) -> None:
    from posttrain.evals import compare, read_answers
    from posttrain.report.words import sentence, steady
    from posttrain.store import Scores

    answers = list(read_answers([Scores(made / "sweep")]))
    expected = compare(answers[0], answers[-1]).as_json() | {"a": "step 50", "b": "step 200"}
    html = client.get("/compare").text
    assert steady(sentence(expected)).replace("<", "&lt;") in html


def test_two_evaluations_of_different_problems_are_not_compared(made: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    shutil.copytree(made / "sweep", runs / "one" / "sweep")
    other = shutil.copytree(made / "sweep", runs / "two" / "sweep")
    for name in ("samples", "verdicts"):
        path = other / "step-000200" / "made" / f"{name}.parquet"
        table = pq.read_table(path)
        ids = pa.array([f"other/{i}" for i in table.column("problem_id").to_pylist()])
        pq.write_table(table.set_column(0, "problem_id", ids), path)
    with client_of(open_site(runs)) as client:
        html = client.get("/compare?a=one/sweep/step-000050/made&b=two/sweep/step-000200/made").text
        assert "These two can&#39;t be compared" in html or "can't be compared" in html
        assert "answered different problems" in html
        assert "only asked of one" in html
        scores = json.loads((other / "scores.json").read_text())
        scores["entries"][0]["fingerprint"] = "else"
        scores["entries"][0]["settings"]["grading"] = "gsm8k"
        (other / "scores.json").write_text(json.dumps(scores))
    with client_of(open_site(runs)) as client:
        html = client.get("/compare?a=one/sweep/step-000050/made&b=two/sweep/step-000050/made").text
        assert "were not asked the same: they differ in grading" in html


@pytest.mark.parametrize(
    "path",
    [
        "/problem?series=sweep/made&problem=absent",
        "/problem",
        "/map?series=absent",
        "/map?sort=absent",
        "/map?show=absent",
        "/compare?a=absent&b=absent",
        "/nothing",
        "/raw?set=sweep/step-000050/made&problem=absent",
    ],
)
def test_what_is_not_there_is_a_page_that_says_so(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "/problem?series=sweep/made&problem=made/000003&sample=99999999999&against=x&sort=%00",
        "/map?page=-1",
        "/map?page=99",
        "/search?q=wait&page=0&verdict=x",
        "/search?q=%22%22%22",
        f"/search?q={'x' * 5000}",
        "/map?series=sweep/made&series=x",
    ],
)
def test_odd_parameters_are_no_failure(client: TestClient, path: str) -> None:
    assert client.get(path).status_code in (200, 404)


def test_a_missing_file_takes_nothing_else_with_it(made: Path, tmp_path: Path) -> None:
    run = shutil.copytree(made, tmp_path / "run", ignore=shutil.ignore_patterns(".explorer"))
    (run / "sweep" / "step-000050" / "made" / "verdicts.parquet").unlink()
    (run / "sweep" / "step-000100" / "made" / "samples.parquet").unlink()
    (run / "sweep" / "step-000150" / "made" / "samples.parquet").write_bytes(b"torn")
    (run / "rl" / "metrics.jsonl").unlink()
    with client_of(open_site(run)) as client:
        assert client.get("/runs").status_code == 200
        assert client.get("/map?series=rl/validation").status_code == 200
        answer = client.get("/map?series=sweep/made")
        assert answer.status_code == 500
        assert "can&#39;t be read" in answer.text
        assert client.get("/compare?a=rl/validation/0&b=rl/validation/40").status_code == 200


HOSTILE = {
    "script": "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">",
    "attribute": '" onmouseover="document.title=\'owned\'" x="',
    "closing": "</div></article></main></body></html><h1>gone</h1>",
    "template": "{{ 7 * 7 }} {% include '/etc/passwd' %}",
    "bidi": "safe \u202egnp.exe\u202c \u2066\u2067\u2069 \u200b\u200f",
    "controls": "bell \x07 null \x00 escape \x1b[31m",
    "long": "x" * 1_000_000,
    "latex": "\\[" + "\\frac{1}{" * 3_000 + "1" + "}" * 3_000 + "\\] $\\def\\x{\\x\\x}\\x$ $\\rule{99999em}{99999em}$",
    "link": "$\\href{javascript:alert(1)}{x}$ [x](javascript:alert(1)) \\(\\url{https://example.com}\\)",
    "surrogate": "half \ud83d pair",
}


def _hostile_sample(problem: str, text: str, step: int) -> Sample:
    verdict = Verdict(step == 20, True, text[:300], "<i>reason</i>")
    return Sample(problem, 0, text[:5000], text, "x", gold=text[:100], finish_reason="stop", verdict=verdict)


def hostile_run(root: Path) -> Path:
    """A run whose problems, traces and names are all written by somebody who means harm."""
    name = "<b>\u202e'\"&"
    made = []
    for step in (10, 20):
        samples = [
            _hostile_sample(f"{name}{kind}", text.replace("\ud83d", "?"), step) for kind, text in HOSTILE.items()
        ]
        folder = root / "sweep" / f"step-{step:06d}" / "bench"
        for file, table in zip(("samples", "verdicts"), samples_to_tables(samples), strict=True):
            write_table(folder / f"{file}.parquet", table)
        made.append(
            {
                "model": f"step-{step:06d}",
                "benchmark": "<b>bench",
                "fingerprint": "x",
                "step": step,
                "accuracy": 0.5,
                "interval": [0.4, 0.6],
                "folder": f"step-{step:06d}/bench",
                "settings": {"grading": "gsm8k"},
            }
        )
    (root / "sweep" / "scores.json").write_text(json.dumps({"entries": made}))
    finish(root / "sweep", manifest("<script>", "scores", evil="<script>x</script>"), **{"<b>": "</td>"})
    broken = pa.array([b"\xff\xc3( <b>", "\ud800".encode("utf-8", "surrogatepass")], pa.binary()).view(pa.string())
    (root / "traces").mkdir()
    columns = {"problem_id": ["a", "b"], "index": pa.array([0, 0], pa.int32()), "question": broken, "response": broken}
    pq.write_table(pa.table(columns), root / "traces" / "samples.parquet")
    finish(root / "traces", manifest("traces", "samples"))
    log = [
        {
            "step": 0,
            "problem_id": f"v{i}",
            "question": t,
            "response": t,
            "correct": True,
            "reason": t[:50],
            "gold": t[:50],
        }
        for i, t in enumerate(HOSTILE.values())
    ]
    (root / "rl").mkdir()
    (root / "rl" / "validation.jsonl").write_text("".join(json.dumps(r) + "\n" for r in log))
    (root / "rl" / "certificate.json").write_text(
        json.dumps({"<script>x</script>": {"ok": False, "<b>": "<img src=x>"}})
    )
    finish(root / "rl", manifest("rl", "checkpoint"), notes=["<script>note</script>"])
    problems = [Problem("<b>1", "<script>", split="<i>train")]
    write_table(root / "problems" / "problems.parquet", problems_to_table(problems))
    pairs = [{"tier": "drop", "row_text": HOSTILE["script"], "item_text": HOSTILE["bidi"], "score": 1.0}]
    steps = [
        {
            "label": "<script>1</script>",
            "verb": "filter",
            "name": "<b>",
            "config": {"<i>": "<u>"},
            "before": 10,
            "after": 4,
            "threshold": 1.0,
            "scores": None,
            "notes": {"pairs": pairs},
        }
    ]
    spread = {"<b>subject": {"values": ["<script>"], "before": [10], "after": [4]}}
    (root / "problems" / "curation.json").write_text(json.dumps({"rows": 10, "steps": steps, "distributions": spread}))
    finish(root / "problems", manifest("data", "problems"))
    return root


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Site:
    opened = open_site(hostile_run(tmp_path_factory.mktemp("hostile") / "<b>run"))
    opened.index.create()
    assert opened.keeper is not None
    opened.keeper.once()
    assert opened.keeper.trouble == ()
    return opened


def test_hostile_text_is_only_ever_text(hostile: Site) -> None:
    with client_of(hostile) as client:
        paths = [
            "/runs",
            "/data",
            "/lineage",
            "/certificate",
            "/compare",
            "/search?q=owned",
            "/search?q=%3Cscript%3E",
            "/sql?sql=SELECT+'<script>x</script>'+AS+\"<b>\"",
        ]
        for name, series in hostile.library.series().items():
            paths.append(f"/map?series={name}")
            for problem in hostile.board(series).problems:
                paths.append(
                    str(client.build_request("GET", "/problem", params={"series": name, "problem": problem}).url)
                )
        assert len(paths) > 25
        for path in paths:
            answer = client.get(path)
            assert answer.status_code == 200, path
            assert len(answer.content) < 3_000_000
            checked(answer.text)
            assert not re.search(r"<script(?! (defer )?src=\"/assets/)", answer.text)
            assert "<img" not in answer.text
            assert 'onerror="' not in answer.text
            assert not re.search(r"[\x00-\x08\x0e-\x1f\u202a-\u202e\u2066-\u2069]", answer.text), path
            assert "49 " not in answer.text or "{{ 7 * 7 }}" in answer.text or "7 * 7" not in answer.text


def test_a_megabyte_line_is_cut_and_the_whole_is_plain_text(hostile: Site) -> None:
    with client_of(hostile) as client:
        found = next(p for p in hostile.board(hostile.library.series()["sweep/bench"]).problems if p.endswith("long"))
        page = client.get("/problem", params={"series": "sweep/bench", "problem": found})
        assert len(page.content) < 300_000
        assert "more characters" in page.text
        raw = client.get("/raw", params={"set": "sweep/step-000010/bench", "problem": found, "sample": "0"})
        assert len(raw.content) == 1_000_000
        assert raw.headers["content-type"] == "text/plain; charset=utf-8"
