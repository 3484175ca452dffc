"""The quickstart as a person runs it, reduced by --smoke: the report, reuse, drift, and the ways on."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

RUN = Path("runs") / "quickstart-smoke"
STAGES = ["corpus", "problems", "traces", "base", "sft", "rl", "control", "scores", "report"]
# Ends with which of the heavy libraries the command imported.
COMMAND = """
import sys
from posttrain.cli import main
code = 0
try:
    main(sys.argv[1:])
except SystemExit as error:
    code = error.code
print("HEAVY", [m for m in ("torch", "transformers") if m in sys.modules])
sys.exit(code)
"""


def quickstart(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", COMMAND, "run", "quickstart", "--smoke", *arguments],
        cwd=folder,
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run below runs/; tests that change it work on a copy."""
    folder = tmp_path_factory.mktemp("quickstart")
    done = quickstart(folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished / "runs", tmp_path / "runs")
    return tmp_path


def made_at(folder: Path) -> dict[str, int]:
    """When each stage's manifest was written."""
    return {p.parent.name: p.stat().st_mtime_ns for p in (folder / RUN).glob("*/manifest.json")}


def outcomes(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """Stage → made, resumed or reused, as the run's lines say."""
    assert done.returncode == 0, done.stderr
    return dict(re.findall(r"^(\S+) +(made|resumed|reused) ", done.stdout, re.MULTILINE))


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_the_report_compares_base_sft_rl_and_the_control(finished: Path) -> None:
    report = read(finished / RUN / "report" / "report.json")
    models = {m["name"]: m for m in report["models"]}
    assert list(models) == ["base", "sft", "rl", "control"]
    for model in models.values():
        low, high = model["interval"]
        assert low <= model["accuracy"] <= high
        assert model["n"] == 64
        assert {"truncation_rate", "unparsed_rate", "undecided_rate"} <= model.keys()
    pairs = {(c["a"], c["b"]): c for c in report["comparisons"]}
    assert {("base", "sft"), ("sft", "rl"), ("sft", "control")} <= pairs.keys()
    for (a, b), comparison in pairs.items():
        assert comparison["difference"] == pytest.approx(models[b]["accuracy"] - models[a]["accuracy"])
        assert {"interval", "p", "verdict"} <= comparison.keys()


def test_the_certificate_is_green_but_for_rewards_that_an_untrained_model_does_not_earn(finished: Path) -> None:
    lines = {
        (c["artifact"], c["line"]): c["ok"] for c in read(finished / RUN / "report" / "report.json")["certificate"]
    }
    assert lines[("rl", "log-probability parity")] is True
    assert lines[("rl", "gradient is split-invariant")] is True
    assert [line for line, ok in lines.items() if not ok] == [("rl", "groups carry a signal")]


def test_no_step_of_rl_was_off_policy(finished: Path) -> None:
    rows = [json.loads(line) for line in (finished / RUN / "rl" / "metrics.jsonl").read_text().splitlines()]
    assert sum("reward" in row for row in rows) == 2
    assert {row["ratio_off"] for row in rows if "ratio_off" in row} <= {0.0}


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "action", "srcset")]


def test_the_page_stands_alone_and_shows_model_text_as_text(finished: Path) -> None:
    text = (finished / RUN / "report" / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"https?://|url\(|@import", text)
    page = Page(text)
    assert not page.tags & {"script", "iframe", "object", "link"}
    assert all(address.startswith(("#", "data:")) for address in page.addresses)
    # What an untrained model wrote can be anything, and stands here as text.
    assert "<|" not in text
    for name in STAGES:
        assert name in text


def test_a_second_run_reuses_everything_without_torch_in_under_five_seconds(finished: Path) -> None:
    before = made_at(finished)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = quickstart(finished)
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert outcomes(done) == dict.fromkeys(STAGES, "reused")
    assert done.stdout.splitlines()[-1] == "HEAVY []"
    # Processor seconds, because tests share their machine.
    assert now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime < 5
    assert made_at(finished) == before


@pytest.mark.parametrize(
    ("change", "shown", "stage"),
    [("report.examples=1", r"examples: \d+ → 1", "report"), ("rl.steps=3", "steps: 2 → 3", "rl")],
)
def test_a_changed_key_is_shown_with_the_ways_on_and_nothing_is_made_again(
    finished: Path, change: str, shown: str, stage: str
) -> None:
    before = made_at(finished)
    done = quickstart(finished, change)
    assert done.returncode == 2
    assert re.search(shown, done.stderr), done.stderr
    assert f"--fresh {stage}" in done.stderr
    assert f"{stage}@1" in done.stderr
    assert "name=" in done.stderr
    assert done.stdout.splitlines()[-1] == "HEAVY []"
    assert made_at(finished) == before
    assert not list((finished / RUN).glob("*@*"))


def test_a_dry_run_says_what_is_reused_and_touches_nothing(finished: Path) -> None:
    before = made_at(finished)
    done = quickstart(finished, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if re.match(r"\s*\d*\s*(report|rl)\b", line)], done.stdout
    assert done.stdout.count("reuse") >= len(STAGES)
    assert made_at(finished) == before


def test_only_makes_one_stage_and_to_the_same_bits(copied: Path, finished: Path) -> None:
    shutil.rmtree(copied / RUN / "rl")
    before = made_at(copied)
    assert outcomes(quickstart(copied, "--only", "rl")) == {"rl": "made"}
    after = made_at(copied)
    assert {name: after[name] for name in before} == before
    weights = Path("rl") / "model" / "model.safetensors"
    assert (copied / RUN / weights).read_bytes() == (finished / RUN / weights).read_bytes()


def test_from_makes_a_stage_and_all_that_follows(copied: Path, finished: Path) -> None:
    for name in ("scores", "report"):
        shutil.rmtree(copied / RUN / name)
    assert outcomes(quickstart(copied, "--from", "scores")) == {"scores": "made", "report": "made"}
    page = RUN / "report" / "report.json"
    assert (copied / page).read_bytes() == (finished / page).read_bytes()


def test_fresh_makes_a_stage_again_and_keeps_the_old_one(copied: Path) -> None:
    old = (copied / RUN / "rl" / "manifest.json").read_bytes()
    made = outcomes(quickstart(copied, "--fresh", "rl"))
    assert made["rl"] == "made"
    assert {made[name] for name in ("base", "sft", "control")} == {"reused"}
    assert (copied / RUN / "rl@1" / "manifest.json").read_bytes() == old
    assert read(copied / RUN / "rl" / "manifest.json")["status"] == "finished"


def test_only_of_a_stage_whose_input_is_missing_says_so(copied: Path, posttrain: Callable[..., Any]) -> None:
    shutil.rmtree(copied / RUN / "sft")
    done = posttrain("run", "quickstart", "--smoke", "--only", "rl", cwd=copied)
    assert done.returncode == 2
    assert "stage 'sft' is not finished" in done.stderr
