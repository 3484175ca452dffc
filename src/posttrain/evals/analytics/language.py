"""Which scripts a text is written in: a model that mixes languages in its thoughts shows it here first."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

# First code points of blocks of letters, and whose they are; what lies before or between is no script's own.
_BLOCKS: tuple[tuple[int, int, str], ...] = (
    (0x0041, 0x005A, "latin"), (0x0061, 0x007A, "latin"), (0x00C0, 0x024F, "latin"), (0x1E00, 0x1EFF, "latin"),
    (0x0370, 0x03FF, "greek"), (0x0400, 0x052F, "cyrillic"), (0x0530, 0x058F, "armenian"), (0x0590, 0x05FF, "hebrew"),
    (0x0600, 0x06FF, "arabic"), (0x0750, 0x077F, "arabic"), (0x0900, 0x097F, "devanagari"), (0x0980, 0x09FF, "bengali"),
    (0x0A00, 0x0A7F, "gurmukhi"), (0x0A80, 0x0AFF, "gujarati"), (0x0B80, 0x0BFF, "tamil"), (0x0C00, 0x0C7F, "telugu"),
    (0x0C80, 0x0CFF, "kannada"), (0x0D00, 0x0D7F, "malayalam"), (0x0E00, 0x0E7F, "thai"), (0x10A0, 0x10FF, "georgian"),
    (0x1100, 0x11FF, "hangul"), (0xAC00, 0xD7AF, "hangul"), (0x3040, 0x30FF, "kana"), (0x3400, 0x4DBF, "han"),
    (0x4E00, 0x9FFF, "han"), (0x20000, 0x2FA1F, "han"),
)  # fmt: skip
MATHEMATICAL = ("greek",)  # single letters of it are no language


@cache
def _table() -> tuple[NDArray[np.int64], NDArray[np.int64], tuple[str, ...]]:
    """(starts, ends, names) of the blocks, by start."""
    blocks = sorted(_BLOCKS)
    return np.array([b[0] for b in blocks]), np.array([b[1] for b in blocks]), tuple(b[2] for b in blocks)


def scripts(text: str) -> dict[str, int]:
    """Letters of each script that occurs, most first. Digits, marks and signs belong to none."""
    codes = np.frombuffer(text.encode("utf-32-le", errors="replace"), dtype="<u4").astype(np.int64)
    starts, ends, names = _table()
    block = np.searchsorted(starts, codes, side="right") - 1
    inside = (block >= 0) & (codes <= ends[block])
    counts = np.bincount(block[inside], minlength=len(names))
    found: dict[str, int] = {}
    for name, count in zip(names, counts.tolist(), strict=True):
        if count:
            found[name] = found.get(name, 0) + count
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def foreign_share(text: str, question: str) -> float:
    """The share of a text's letters in scripts that its question doesn't use; 0 for a text without letters.

    Greek letters are left out: they are mathematics more often than Greek. A question without letters makes the text's
    own commonest script the expected one. Languages that share a script are not told apart.
    """
    letters = {name: count for name, count in scripts(text).items() if name not in MATHEMATICAL}
    total = sum(letters.values())
    if not total:
        return 0.0
    expected = set(scripts(question)) or {next(iter(letters))}
    return sum(count for name, count in letters.items() if name not in expected) / total
