"""The project itself: what every file of it keeps to."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import posttrain
from posttrain.registry import STAGES

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
TEXT = {".py", ".md", ".toml", ".yaml", ".yml", ".html", ".css", ".js", ".jinja", ".txt", ".json", ".example", ""}


def tracked_files() -> list[Path]:
    """What belongs to the project: what git tracks, or, without git, what is not ignored by name."""
    if shutil.which("git") and (ROOT / ".git").exists():
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
        return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]
    own = ("src", "tests", "docs", "recipes", "perf", "tools", ".ci")
    inside = [path for folder in own for path in (ROOT / folder).rglob("*") if path.is_file()]
    return [p for p in [*ROOT.glob("*"), *inside] if p.is_file() and "__pycache__" not in p.parts]


def texts() -> list[tuple[Path, str]]:
    files = [path for path in tracked_files() if path.suffix in TEXT and path != Path(__file__)]
    return [(path.relative_to(ROOT), path.read_text(encoding="utf-8", errors="ignore")) for path in files]


def mentions(pattern: str) -> list[str]:
    found = re.compile(pattern)
    return [
        f"{path}:{number}: {line.strip()[:100]}"
        for path, text in texts()
        for number, line in enumerate(text.splitlines(), 1)
        if found.search(line)
    ]


def test_no_file_names_a_host_that_packages_come_from() -> None:
    assert mentions(r"pypi\.org|pythonhosted|download\.pytorch\.org|npmjs|--(extra-)?index-url|find-links") == []


def test_no_file_names_a_path_of_one_machine() -> None:
    assert mentions(r"(?<![\w.])/(work|tmp/wt|root|home/\w+|Users/\w+)/") == []


def test_no_file_holds_a_key() -> None:
    assert mentions(r"\b(sk-[A-Za-z0-9]{20,}|hf_[A-Za-z0-9]{30,}|ghp_[A-Za-z0-9]{30,}|AKIA[A-Z0-9]{16})") == []


def test_the_environments_example_names_keys_and_holds_no_values() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    assignments = [line.lstrip("# ") for line in lines if re.match(r"#? ?[A-Z_]+=", line)]
    assert assignments
    assert all(re.fullmatch(r"[A-Z][A-Z0-9_]*=", line) for line in assignments), assignments


@pytest.mark.parametrize(
    "name", ["LICENSE", "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/index.md", ".ci/run"]
)
def test_the_project_has(name: str) -> None:
    assert (ROOT / name).stat().st_size > 0


def test_the_licence_is_mit() -> None:
    assert "Permission is hereby granted, free of charge" in (ROOT / "LICENSE").read_text()


def test_the_installed_version_is_the_packages_own() -> None:
    assert importlib.metadata.version("posttrain") == posttrain.__version__


def test_the_changelog_knows_the_version() -> None:
    assert f"## [{posttrain.__version__}]" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "src")))
def test_a_module_says_what_it_is(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert docstring
    assert not docstring.startswith("Placeholder"), "this room is not built"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "src")))
def test_no_handler_swallows_every_error(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ExceptHandler) and (node.type is None or "Exception" in ast.unparse(node.type).split()):
            body = [inner for statement in node.body for inner in ast.walk(statement)]
            kept = [i for i in body if isinstance(i, ast.Raise) or (isinstance(i, ast.Name) and i.id == node.name)]
            assert kept, f"{path.name}:{node.lineno} catches every error and drops it"


def test_nothing_is_left_to_do() -> None:
    assert [mention for mention in mentions(r"\b(TODO|FIXME|XXX)\b") if mention.startswith("src")] == []


def test_imports_run_downward_only() -> None:
    command = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([command, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout


# Imports each module in a fork of its own, and says which heavy libraries came with it.
IMPORTED = """
import importlib, json, os, sys
import posttrain.config, posttrain.stage  # what all have; light, as the modules below show
for module in sys.argv[1:]:
    if os.fork() == 0:
        importlib.import_module(module)
        heavy = {m.split(".")[0] for m in sys.modules} & {"torch", "transformers", "datasets", "matplotlib"}
        print(json.dumps([module, sorted(heavy)]), flush=True)
        os._exit(0)
    os.wait()
"""


def test_naming_a_stage_or_a_light_room_imports_nothing_heavy() -> None:
    stages = [where.partition(":")[0] for where, _ in STAGES.values()]
    modules = sorted({*stages, "posttrain", "posttrain.cli", "posttrain.pipeline", "posttrain.tracking"})
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED, *modules], capture_output=True, text=True, timeout=120, check=True
    )
    assert dict(json.loads(line) for line in done.stdout.splitlines()) == {module: [] for module in modules}


def test_there_are_recipes() -> None:
    assert (ROOT / "recipes" / "quickstart.yaml").exists()


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_a_recipes_head_says_what_to_expect(recipe: Path) -> None:
    head = recipe.read_text(encoding="utf-8").splitlines()[0]
    assert head.startswith("# "), f"{recipe.name} begins with no comment"


def test_init_writes_the_example_of_the_environment_that_stands_here() -> None:
    template = ROOT / "src" / "posttrain" / "cli" / "templates" / "env.example"
    assert template.read_text() == (ROOT / ".env.example").read_text()
