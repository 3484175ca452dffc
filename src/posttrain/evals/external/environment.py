"""Where the suites are installed: an environment of their own, so that their requirements can't change ours."""

from __future__ import annotations

import os
from pathlib import Path

import posttrain
from posttrain.errors import MissingExtraError

FOLDER = ".venv-suites"
VARIABLE = "POSTTRAIN_SUITES"
PROGRAMS = {"lm_eval": "lm-eval", "lighteval": "lighteval"}


def program(suite: str) -> Path:
    """The suite's program. MissingExtraError where its environment is missing or lacks it."""
    named = os.environ.get(VARIABLE)
    checkout = Path(posttrain.__file__).resolve().parents[2]
    folders = [Path(named).expanduser()] if named else [Path.cwd() / FOLDER, checkout / FOLDER]
    for folder in folders:
        found = folder / "bin" / PROGRAMS[suite]
        if found.is_file():
            return found
    raise MissingExtraError(
        f"{suite} is not installed: there is no bin/{PROGRAMS[suite]} in {' or '.join(map(str, folders))}. Run "
        f"`make suites` in posttrain's repository, or name an environment that has it in {VARIABLE}."
    )


def variables(visible: str | None) -> dict[str, str]:
    """The environment a suite runs in: ours without our own packages; `visible`: which GPU it may see, "" for none."""
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
    kept |= {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_DISABLE_TELEMETRY": "1", "PYTHONUNBUFFERED": "1"}
    if visible is not None:
        kept["CUDA_VISIBLE_DEVICES"] = visible
    return kept


def installed_version(suite: str) -> str:
    """Of the suite in its environment; "unknown" where it was not installed by pip."""
    library = program(suite).parent.parent / "lib"
    found = sorted(library.glob(f"python*/site-packages/{suite}-*.dist-info"))
    return found[0].name.removesuffix(".dist-info").partition("-")[2] if found else "unknown"
