"""API keys: read from the environment or from .env when they are needed."""

from __future__ import annotations

import os
import re
from pathlib import Path

from posttrain.errors import ProviderError
from posttrain.providers.teacher import Teacher
from posttrain.web import sendable

_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_]\w*)\s*=\s*(.*?)\s*")


def find_key(teacher: Teacher, folder: Path | None = None) -> str | None:
    """The key of `teacher`: the environment before `.env` in `folder` (the working folder). None where it wants none.

    ProviderError where it wants one and there is none.
    """
    if teacher.key_env is None:
        return None
    path = (folder or Path.cwd()) / ".env"
    key = os.environ.get(teacher.key_env, "").strip() or read_env(path).get(teacher.key_env, "").strip()
    if not key:
        raise ProviderError(
            f"teacher '{teacher.name}' needs a key, and {teacher.key_env} is neither in the environment nor in {path}. "
            f"Set it: export {teacher.key_env}=…, or write {teacher.key_env}=… into .env."
        )
    if not sendable(key):
        raise ProviderError(
            f"the key in {teacher.key_env} holds characters that no HTTP header can carry. Copy it again, whole and "
            "alone."
        )
    return key


def read_env(path: Path) -> dict[str, str]:
    """The names and values in a .env file; empty where there is none. Nothing is put into the environment."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, IsADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError) as problem:
        # The reason only, since the error itself may hold bytes of the file.
        why = problem.strerror if isinstance(problem, OSError) else "it is not UTF-8 text"
        raise ProviderError(f"{path} can't be read: {why}. It holds one NAME=value per line.") from None
    found = {}
    for line in lines:
        match = _LINE.fullmatch(line)
        if match and not line.lstrip().startswith("#"):
            found[match[1]] = _value(match[2])
    return found


def _value(text: str) -> str:
    """Quotes are taken off; after an unquoted value a comment may stand."""
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    return re.split(r"\s#", text, maxsplit=1)[0].rstrip()
