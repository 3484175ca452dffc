from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Posttrain = Callable[..., subprocess.CompletedProcess[str]]
ROOT = Path(__file__).resolve().parents[3]
RECIPE = """\
# A walk.
# Two lines about it.
name: walk
stages:
  problems: {stage: "tests.toys:numbers"}
  student: {stage: "tests.toys:student", problems: problems}
  scores: {stage: "tests.toys:scores", models: [student]}
  report: {stage: "tests.toys:report", of: [scores]}
smoke: {student.steps: 1}
"""


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))


@pytest.fixture
def walk(tmp_path: Path) -> Path:
    path = tmp_path / "walk.yaml"
    path.write_text(RECIPE)
    return path


def good(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_help_lists_every_verb_and_every_stage(posttrain: Posttrain) -> None:
    from posttrain.cli import VERBS
    from posttrain.registry import STAGES

    told = good(posttrain("--help"))
    for name in [*VERBS, *STAGES]:
        assert f"\n  {name} " in told


def test_every_verb_has_help_and_its_first_words_are_in_the_table(posttrain: Posttrain) -> None:
    from posttrain.cli import VERBS

    for verb in VERBS:
        assert f"Usage: posttrain {verb}" in good(posttrain(verb, "--help"))


WITHOUT_TORCH = """
import sys
from posttrain.cli import main
try:
    main(sys.argv[1:])
except SystemExit as error:
    assert not error.code, error.code
heavy = [m for m in ("torch", "transformers", "scipy", "matplotlib", "datasets") if m in sys.modules]
print("HEAVY", heavy)
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["run", "--help"],
        ["sft", "--help"],
        ["rl", "--help"],
        ["plan", "walk.yaml"],
        ["run", "walk.yaml"],
        ["run", "walk.yaml", "--dry-run"],
        ["recipes"],
        ["doctor"],
        ["lineage", "runs/walk/scores"],
    ],
)
def test_nothing_but_training_imports_torch(walk: Path, posttrain: Posttrain, arguments: list[str]) -> None:
    if arguments[0] == "lineage":
        good(posttrain("run", "walk.yaml"))
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *arguments], cwd=walk.parent, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "HEAVY []"


def test_help_answers_at_once() -> None:
    """Under 0.3 s on a quiet machine; measured in CPU time, which neighbours on the machine don't stretch much."""
    script = (
        "import time; from posttrain.cli import cli; cli(['--help'], standalone_mode=False); print(time.process_time())"
    )
    seconds = min(
        float(
            subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()[
                -1
            ]
        )
        for _ in range(3)
    )
    assert seconds < 0.3


def test_a_run_prints_a_line_per_stage_and_where_the_report_is(walk: Path, posttrain: Posttrain) -> None:
    first = good(posttrain("run", "walk.yaml", "--quiet")).splitlines()
    assert [line.split()[:2] for line in first[:4]] == [
        ["problems", "made"],
        ["student", "made"],
        ["scores", "made"],
        ["report", "made"],
    ]
    assert "steps 4" in first[1]
    assert first[4] == "report: runs/walk/report/report.html"
    again = good(posttrain("run", "walk.yaml")).splitlines()
    assert [line.split()[1] for line in again[:4]] == ["reused"] * 4


def test_a_dry_run_and_a_plan_write_nothing(walk: Path, posttrain: Posttrain) -> None:
    assert good(posttrain("run", "walk.yaml", "--dry-run")) == good(posttrain("plan", "walk.yaml"))
    told = json.loads(good(posttrain("plan", "walk.yaml", "--json", "student.steps=7")))
    assert told["stages"][1]["config"]["steps"] == 7
    assert told["stages"][1]["forecast"]["seconds"] == 14.0
    assert [p.name for p in walk.parent.iterdir()] == ["walk.yaml"]


def test_a_finished_run_of_eight_stages_and_some_megabytes_is_reused_in_two_seconds(
    tmp_path: Path, posttrain: Posttrain
) -> None:
    stages: dict[str, Any] = {"problems": {"stage": "tests.toys:numbers", "n": 60_000, "word": "wherefore"}}
    for i in range(7):
        stages[f"s{i}"] = {"stage": "tests.toys:student", "problems": "problems"}
    (tmp_path / "wide.yaml").write_text(json.dumps({"name": "wide", "stages": stages}))
    good(posttrain("run", "wide.yaml"))
    started = time.monotonic()
    good(posttrain("run", "wide.yaml"))
    whole = time.monotonic() - started
    started = time.monotonic()
    good(posttrain("run", "--help"))
    assert whole - (time.monotonic() - started) < 2


def test_smoke_runs_the_same_stages_under_another_name(walk: Path, posttrain: Posttrain) -> None:
    good(posttrain("run", "walk.yaml", "--smoke"))
    manifest = json.loads((walk.parent / "runs" / "walk-smoke" / "student" / "manifest.json").read_text())
    assert manifest["config"]["steps"] == 1


def test_a_stage_alone_is_a_verb(walk: Path, posttrain: Posttrain) -> None:
    assert "lr=1e-4" not in good(posttrain("tests.toys:student", "--help"))
    good(posttrain("tests.toys:numbers", "n=5", "out=data"))
    told = good(posttrain("tests.toys:student", "problems=data", "optimizer.lr=1e-4", "seed=3", "out=s"))
    assert told.splitlines()[-1] == "checkpoint: s"
    manifest = json.loads((walk.parent / "s" / "manifest.json").read_text())
    assert (manifest["seed"], manifest["config"]["optimizer"]) == (3, {"lr": 1e-4})
    drifted = posttrain("tests.toys:student", "problems=data", "out=s", "seed=3")
    assert drifted.returncode == 2
    assert "optimizer.lr: 0.0001 → 0.001" in drifted.stderr
    good(posttrain("tests.toys:student", "problems=data", "out=s", "seed=3", "--fresh"))
    assert (walk.parent / "s@1" / "manifest.json").exists()


def test_lineage_walks_back(walk: Path, posttrain: Posttrain) -> None:
    good(posttrain("run", "walk.yaml"))
    assert "problems: problems  tests.toys:numbers" in good(posttrain("lineage", "runs/walk/report"))
    told = json.loads(good(posttrain("lineage", "runs/walk/report", "--json")))
    assert told["inputs"][0]["inputs"][0]["inputs"][0]["stage"] == "tests.toys:numbers"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "nothing.yaml"], "there is no recipe 'nothing.yaml'"),
        (["run", "wlk.yaml"], "Did you mean 'walk.yaml'?"),
        (["run", "walk.yaml", "student.stpes=3"], "unknown key 'stpes'. Did you mean 'steps'?"),
        (["run", "walk.yaml", "student"], "is not of the form key=value"),
        (["run", "walk.yaml", "--fresh", "studnt"], "Did you mean 'student'?"),
        (
            ["plan", "walk.yaml", "student.problems=scores"],
            "but 'scores' makes scores. Did you mean problems: problems?",
        ),
        (["lineage", "nowhere"], "nowhere does not exist"),
        (["recipes", "nothing"], "there is no recipe 'nothing'"),
        (["tests.toys:student", "modl=3"], "unknown key 'modl'. Did you mean 'model'?"),
        (["tests.toys:told"], "input 'problems' (problems) is missing"),
        (["tests.toys:told", "seed=x", "problems=a"], "seed is 'x'"),
        (["nowhere:f"], "there is no module 'nowhere'"),
    ],
)
def test_a_users_mistake_is_one_message_and_exit_code_2(
    walk: Path, posttrain: Posttrain, arguments: list[str], message: str
) -> None:
    done = posttrain(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.startswith("posttrain: ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    assert [p.name for p in walk.parent.iterdir()] == ["walk.yaml"]


def test_an_unknown_verb_or_option_is_exit_code_2(posttrain: Posttrain) -> None:
    for arguments in (["rnu"], ["run"], ["run", "--freh", "x"]):
        done = posttrain(*arguments)
        assert done.returncode == 2
        assert done.stderr.startswith("posttrain: ")
        assert done.stderr.count("\n") == 1
    assert posttrain("rnu").stderr == (
        "posttrain: there is no verb 'rnu'. Did you mean 'run'? `posttrain --help` shows how.\n"
    )


def test_a_stage_that_fails_is_named(walk: Path, posttrain: Posttrain) -> None:
    done = posttrain("run", "walk.yaml", "student.fail_at=2")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "posttrain: the loss is NaN at step 2. Lower the learning rate.",
        "  in stage 'student', runs/walk/student",
    ]


def test_a_bug_keeps_its_traceback_and_is_exit_code_1(tmp_path: Path, posttrain: Posttrain) -> None:
    done = posttrain("tests.toys:crashes")
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
    assert "Traceback" in done.stderr
    assert json.loads((tmp_path / "runs/alone/tests.toys.crashes/manifest.json").read_text())["status"] == "running"


@pytest.mark.parametrize("devices", ["null", "[cpu:0, cpu:1]"])
def test_an_interrupt_stops_everything_and_the_run_can_go_on(walk: Path, posttrain: Posttrain, devices: str) -> None:
    command = [sys.executable, "-m", "posttrain", "run", "walk.yaml", f"devices={devices}"]
    process = subprocess.Popen(
        [*command, "student.seconds=30"], cwd=walk.parent, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    state = walk.parent / "runs" / "walk" / "student" / "manifest.json"
    deadline = time.monotonic() + 60
    while not state.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert errors.strip() == "posttrain: stopped. Run the same command again to continue."
    assert "resumed" in good(posttrain("run", "walk.yaml", f"devices={devices}"))


def test_init_writes_a_recipe_that_plans_and_overwrites_nothing(tmp_path: Path, posttrain: Posttrain) -> None:
    good(posttrain("init", "mine"))
    assert sorted(p.name for p in (tmp_path / "mine").iterdir()) == [".env.example", "recipe.yaml"]
    assert "student" in good(posttrain("plan", "mine/recipe.yaml"))
    assert "student" in good(posttrain("plan", "mine/recipe.yaml", "--smoke"))
    done = posttrain("init", "mine")
    assert done.returncode == 2
    assert "is there already, and nothing was written" in done.stderr
    done = posttrain("init", "mine/recipe.yaml")
    assert "is a file. Give a folder." in done.stderr


def test_recipes_are_listed_with_what_they_say_of_themselves(walk: Path, posttrain: Posttrain) -> None:
    from posttrain.cli.recipes import head_comment

    assert head_comment(walk) == ["A walk.", "Two lines about it."]
    assert "posttrain run NAME" in good(posttrain("recipes"))


def test_doctor_looks_at_what_matters_and_changes_nothing(tmp_path: Path, posttrain: Posttrain) -> None:
    told = {f["subject"]: f for f in json.loads(good(posttrain("doctor", "--json")))}
    assert {
        "python",
        "torch",
        "transformers",
        "cpu",
        "cpu bf16",
        "memory",
        "gpus",
        "vllm environment",
        "disk here",
    } <= set(told)
    assert told["python"]["ok"]
    assert good(posttrain("doctor")).startswith("ok  python")
    assert list(tmp_path.iterdir()) == []
