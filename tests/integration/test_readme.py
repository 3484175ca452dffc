"""README and docs are true: their commands exist, their Python runs, their links lead somewhere."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from posttrain.pipeline import build_graph, parse_recipe
from posttrain.stage import stage_spec

ROOT = Path(__file__).resolve().parents[2]
TOP = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", ROOT / "perf" / "README.md")
PAGES = sorted([*TOP, *(ROOT / "docs").rglob("*.md")])
Posttrain = Callable[..., "subprocess.CompletedProcess[str]"]

# Programs that are not ours; what they are asked is not checked.
OUTSIDE = {"cd", "cp", "docker", "mkdir", "export", "source", "git", "tensorboard", "trackio", "wandb", "pre-commit"}


def blocks(page: Path, language: str) -> Iterator[tuple[int, str]]:
    """(line number, text) of the fenced blocks of `page` in `language`."""
    text = page.read_text(encoding="utf-8")
    for match in re.finditer(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield text[: match.start()].count("\n") + 2, match[1]


def commands() -> list[tuple[str, list[str]]]:
    """(where, words) of every command in the pages' bash blocks; a backslash joins lines, a # begins a comment."""
    found = []
    for page in PAGES:
        for start, block in blocks(page, "bash"):
            for offset, line in enumerate(block.replace("\\\n", " ").splitlines()):
                words = shlex.split(line, comments=True)
                while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                    words = words[1:]  # NAME=value before a command
                if words:
                    found.append((f"{page.relative_to(ROOT)}:{start + offset}", words))
    return found


COMMANDS = commands()


def of(*programs: str) -> list[pytest.param]:
    chosen = [(where, words) for where, words in COMMANDS if Path(words[0]).name in programs]
    return [pytest.param(words, id=f"{where} {' '.join(words)[:60]}") for where, words in chosen]


def test_every_command_is_of_a_program_that_is_checked() -> None:
    known = {*OUTSIDE, "make", "pip", "posttrain", "python", "python3"}
    assert [(where, words) for where, words in COMMANDS if Path(words[0]).name not in known] == []


def test_readme_opens_with_its_two_commands() -> None:
    first = next(blocks(ROOT / "README.md", "bash"))[1]
    assert first.split("\n") == ["make quickstart", "make test", ""]


@pytest.mark.parametrize("words", of("make"))
def test_a_make_target_exists_and_knows_what_to_do(words: list[str]) -> None:
    targets = [word for word in words[1:] if "=" not in word]
    assert targets
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony
    assert set(targets) <= set(phony[1].split())
    done = subprocess.run(["make", "--dry-run", *words[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("words", of("posttrain"))
def test_a_posttrain_command_does_what_the_page_says(words: list[str], posttrain: Posttrain, tmp_path: Path) -> None:
    verb, rest = words[1], words[2:]
    shown = posttrain(verb, "--help") if not verb.startswith("-") else posttrain("--help")
    assert shown.returncode == 0, f"no verb {verb!r}: {shown.stderr}"
    for option in [word.partition("=")[0] for word in rest if word.startswith("-")]:
        assert re.search(rf"(^|[\s,]){re.escape(option)}\b", shown.stdout, re.MULTILINE), f"{verb} has no {option}"
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    if verb == "run":  # minutes: only what it would do
        if "--fresh" in rest:
            return  # needs a finished run
        done = posttrain("run", *rest, "--dry-run")
    elif verb in ("plan", "recipes", "doctor", "init") or verb.startswith("-"):
        done = posttrain(*words[1:])
    else:
        return  # needs a finished run or a network: the verb and its options were looked up
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("words", of("pip"))
def test_an_extra_that_is_named_exists(words: list[str]) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for listed in re.findall(r"\[([\w,-]+)\]", " ".join(words)):
        assert set(listed.split(",")) <= set(extras)


@pytest.mark.parametrize("words", of("python", "python3"))
def test_a_python_command_names_a_module_or_file_that_exists(words: list[str]) -> None:
    if words[1] == "-m":
        assert importlib.util.find_spec(words[2]) is not None
    else:
        assert (ROOT / words[1]).is_file()


def test_extras_are_all_documented() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    table = (ROOT / "docs" / "install.md").read_text()
    assert [extra for extra in extras if f"| `{extra}` |" not in table] == []


def test_the_python_example_of_the_readme_runs(tmp_path: Path) -> None:
    _, example = next(blocks(ROOT / "README.md", "python"))
    assert len([line for line in example.splitlines() if line.strip()]) <= 15
    done = subprocess.run(
        [sys.executable, "-c", example],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env=os.environ,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"^base → student .*(better|worse|cannot tell)", done.stdout, re.MULTILINE), done.stdout
    assert (tmp_path / "runs" / "example" / "report" / "report.html").exists()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_blocks_parse_and_import_what_exists(page: Path) -> None:
    for _, block in blocks(page, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("posttrain"):
                module = importlib.import_module(node.module)
                missing = [alias.name for alias in node.names if not hasattr(module, alias.name)]
                assert missing == [], f"{node.module} has no {missing}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_recipes_on_a_page_can_be_planned(page: Path) -> None:
    for _, block in blocks(page, "yaml"):
        values = yaml.safe_load(block)
        if "name" in values and "stages" in values:
            assert build_graph(parse_recipe(values, page.name)).nodes
        for body in values.get("stages", {}).values():  # also of a part of a recipe, whose inputs stand elsewhere
            spec = stage_spec(body["stage"])
            known = {"stage", "seed", "each", *spec.config.model_fields, *(takes.name for takes in spec.inputs)}
            assert set(body) <= known


def test_the_architecture_page_lists_the_rooms_that_exist_and_no_others() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    block = re.search(r"^src/posttrain/\n(.*?)^tests/", text, re.MULTILINE | re.DOTALL)
    assert block
    listed = {
        name
        for line in block[1].splitlines()
        for name in re.findall(r"(?:^|\s)([a-z0-9_]+(?:/|\.py))(?=\s)", line[:26])
    }
    package = ROOT / "src" / "posttrain"
    rooms = {f"{path.name}/" for path in package.iterdir() if (path / "__init__.py").exists()}
    modules = {path.name for path in package.glob("*.py") if not path.name.startswith("__")}
    assert listed == rooms | modules


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("https://", "mailto:")):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.exists(), f"{page.name} links to {target}"
        if anchor:
            assert anchor in anchors(path), f"{page.name} links to {target}, and {path.name} has no such heading"


def anchors(page: Path) -> set[str]:
    """The anchors that a Markdown viewer makes of headings: lower case, punctuation dropped, spaces to hyphens."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}
