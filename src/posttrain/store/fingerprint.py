"""Digests of files and the fingerprint of a stage: what its result depends on, and nothing else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def sha256_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_files(sha256_by_name: Mapping[str, str]) -> str:
    """One digest of a set of files, independent of the order they are listed in."""
    lines = sorted(f"{name}\0{digest}" for name, digest in sha256_by_name.items())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def fingerprint(facts: Mapping[str, Any]) -> str:
    """SHA-256 of canonical JSON: sorted keys, no white space, no NaN."""
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
