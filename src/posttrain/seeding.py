"""One root seed; every consumer derives its own from (root, purpose, index).

Nobody draws from a global generator, so adding a consumer changes nobody else's numbers, and a resumed run derives the
same seeds as an uninterrupted one.
"""

from __future__ import annotations

import hashlib


def derive(root: int, purpose: str, *index: int | str) -> int:
    """A 63-bit seed for `purpose` (and, say, a step or row): SHA-256 of the parts, so no two purposes collide."""
    text = "\x1f".join([str(root), purpose, *map(str, index)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
