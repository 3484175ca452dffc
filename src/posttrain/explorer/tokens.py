"""A response cut into its tokens, and their numbers as levels of colour.

The tokenizer is the checkpoint's own `tokenizer.json`; where its pieces don't add up to the text, nothing is coloured.
"""

from __future__ import annotations

import bisect
import functools
import itertools
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posttrain.explorer.text import Range

ENTROPY = (0.05, 0.3, 0.8, 1.5, 2.5)  # nats: upper ends of levels 0 to 4
SURPRISE = tuple(-math.log(p) for p in (0.95, 0.8, 0.5, 0.2, 0.05))  # the same of −log p
ADVANTAGE = (0.0, 0.5, 1.0, 1.5)
LARGEST = 64 * 2**20  # bytes of a tokenizer.json that is still opened


OPENED = 64  # bytes that a template may have written of the response before the first token


def spans(pieces: Sequence[bytes], text: str) -> list[tuple[int, int]] | None:
    """Character ranges [n] of the pieces in the text; None where they don't spell it.

    The text may lack the token that ended it, and may begin with what the prompt already wrote of the response. A
    character that several tokens share belongs to the first of them.
    """
    raw = text.encode()
    sizes = [len(piece) for piece in pieces]
    for last in (len(pieces), len(pieces) - 1):
        written = b"".join(pieces[: max(last, 0)])
        skipped = 1 if written.startswith(b" ") and raw == written[1:] else 0  # SentencePiece's first blank
        before = len(raw) - len(written) + skipped
        if (written or (last >= 0 and not raw)) and 0 <= before <= OPENED and raw.endswith(written[skipped:]):
            ends = np.minimum(np.cumsum([0, *sizes]) + before - skipped, len(raw)).clip(min=0)
            places = _characters(raw, text.isascii(), ends)
            return list(itertools.pairwise(places))
    return None


def _characters(raw: bytes, ascii_only: bool, ends: NDArray[np.int64]) -> list[int]:
    """Byte offsets as character offsets."""
    if ascii_only:
        return [int(e) for e in ends]
    begins = (np.frombuffer(raw, np.uint8) & 0xC0) != 0x80
    before = np.concatenate([[0], np.cumsum(begins)])
    return [int(before[int(e)]) for e in ends]


def levels(ranges: Sequence[tuple[int, int]], values: NDArray[Any], ends: Sequence[float], letter: str) -> list[Range]:
    """Ranges with class `e3`, `p5` …; level 0 is the page's own ink and gets none. Neighbours of a level are one."""
    found: list[Range] = []
    for (start, end), value in zip(ranges, values.tolist(), strict=True):
        level = bisect.bisect_left(ends, value) if math.isfinite(value) else 0
        if level == 0 or start == end:
            continue
        name = f"{letter}{level}"
        if found and found[-1][1] == start and found[-1][2] == name:
            found[-1] = (found[-1][0], end, name)
        else:
            found.append((start, end, name))
    return found


def advantage_class(advantage: float | None) -> str:
    """`ap1` … `ap4` above zero, `an1` … below; nothing at zero."""
    if not advantage or not math.isfinite(advantage):
        return ""
    return f"a{'p' if advantage > 0 else 'n'}{bisect.bisect_left(ADVANTAGE, abs(advantage))}"


class Vocabulary:
    """The bytes behind a token id, for byte-level and for SentencePiece-like vocabularies."""

    def __init__(self, path: Path) -> None:
        read = json.loads(path.read_text(encoding="utf-8"))
        model = read.get("model") or {}
        vocabulary = model.get("vocab")
        if not isinstance(vocabulary, dict):
            raise ValueError("no vocabulary by name")
        self._byte_level = '"ByteLevel"' in json.dumps([read.get("pre_tokenizer"), read.get("decoder")])
        self._pieces: dict[int, str] = {int(i): str(piece) for piece, i in vocabulary.items()}
        self._added = {int(t["id"]): str(t["content"]) for t in read.get("added_tokens") or ()}

    def pieces(self, ids: Sequence[int]) -> list[bytes] | None:
        """None where an id is unknown."""
        found = []
        for i in ids:
            if i in self._added:
                found.append(self._added[i].encode())
            elif i in self._pieces:
                found.append(self._bytes(self._pieces[i]))
            else:
                return None
        return found

    def _bytes(self, piece: str) -> bytes:
        if self._byte_level:
            table = _byte_table()
            return bytes(table[sign] for sign in piece if sign in table)
        if len(piece) == 6 and piece.startswith("<0x"):
            return bytes([int(piece[3:5], 16)])
        return piece.replace("\u2581", " ").encode()


@functools.cache
def _byte_table() -> dict[str, int]:
    """GPT-2's printable stand-ins for bytes (openai/gpt-2, encoder.py: bytes_to_unicode), the other way round."""
    kept = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    table = {chr(b): b for b in kept}
    others = [b for b in range(256) if b not in kept]
    return table | {chr(256 + n): b for n, b in enumerate(others)}


@functools.lru_cache(4)
def _vocabulary(path: Path, stamp: int) -> Vocabulary | None:
    del stamp  # part of the cache's key: the file may be made again
    try:
        return Vocabulary(path)
    except (OSError, ValueError, TypeError, AttributeError, KeyError):
        return None


def vocabulary_of(folder: Path) -> Vocabulary | None:
    """Of an artifact's own model; None where it keeps none that can be read."""
    for path in (folder / "model" / "tokenizer.json", folder / "tokenizer.json"):
        if path.is_file() and path.stat().st_size <= LARGEST:
            return _vocabulary(path, path.stat().st_mtime_ns)
    return None
