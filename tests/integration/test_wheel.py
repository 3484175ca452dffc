"""What the Dockerfile does, without an engine: a wheel from the files that it copies, in an environment of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.real


def copied() -> list[str]:
    """What the wheel's stage of the Dockerfile copies."""
    stage = re.search(r"AS wheel\n(.*?)\nFROM ", (ROOT / "Dockerfile").read_text(), re.DOTALL)
    assert stage
    return [name for line in re.findall(r"^COPY (.*)$", stage[1], re.MULTILINE) for name in line.split()[:-1]]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("build")
    for name in copied():
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy(source, folder / name)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", "wheels", "."]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode and "No matching distribution found for setuptools" in done.stderr:
        pytest.skip("pip finds no setuptools to build with: no package index here")
    assert done.returncode == 0, done.stderr
    (made,) = (folder / "wheels").glob("posttrain-*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of an environment with the wheel, which borrows the libraries of ours but not the checkout."""
    folder = tmp_path_factory.mktemp("image") / "venv"
    venv.create(folder, with_pip=False)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    command = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(folder / "bin" / "python"),
        "install",
        "--quiet",
        "--no-deps",
    ]
    subprocess.run([*command, str(wheel)], check=True, timeout=300, capture_output=True)
    # A .pth only lends the folder: the editable install's own .pth in there is not read.
    (packages / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin"


def ask(installed: Path, folder: Path, *arguments: str) -> str:
    """`posttrain …` of that environment, in a folder that has no checkout."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "POSTTRAIN_DATA")}
    done = subprocess.run(
        [installed / "posttrain", *arguments],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_carries_every_file_of_the_package_and_every_recipe(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    own = [p for p in (ROOT / "src" / "posttrain").rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    assert [str(p.relative_to(ROOT / "src")) for p in own if str(p.relative_to(ROOT / "src")) not in inside] == []
    recipes = [p.relative_to(ROOT) for p in (ROOT / "recipes").rglob("*") if p.suffix in (".yaml", ".json", ".jsonl")]
    assert [str(r) for r in recipes if not any(name.endswith(f"/{r}") for name in inside)] == []


def test_what_is_installed_helps_looks_around_and_plans_without_a_checkout(installed: Path, tmp_path: Path) -> None:
    where = subprocess.run(
        [installed / "python", "-c", "import posttrain; print(posttrain.__file__)"],
        cwd=tmp_path, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert str(ROOT) not in where.stdout
    assert "Verbs" in ask(installed, tmp_path, "--help")
    assert "quickstart" in ask(installed, tmp_path, "recipes")
    assert "python" in ask(installed, tmp_path, "doctor")
    assert "report" in ask(installed, tmp_path, "plan", "quickstart", "--smoke")
