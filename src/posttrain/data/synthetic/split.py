"""Which split a story belongs to, decided by the story itself.

A story's split is a hash of its key, so no seed, size or corpus can ever put one problem (or one that differs only in
the person and the thing counted) into two splits.
"""

from __future__ import annotations

import hashlib
from typing import Literal

from posttrain.data.synthetic.people import TEMPLATES as _PEOPLE
from posttrain.data.synthetic.places import TEMPLATES as _PLACES
from posttrain.data.synthetic.template import Template
from posttrain.data.synthetic.work import TEMPLATES as _WORK

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
TEMPLATES: tuple[Template, ...] = (*_PEOPLE, *_PLACES, *_WORK)


def split_of(key: str) -> Split:
    """Seven tenths of all stories are train, one tenth validation, two tenths test."""
    bucket = hashlib.sha256(key.encode()).digest()[0] % 10
    return "test" if bucket < 2 else "validation" if bucket == 2 else "train"


def templates_of(split: Split, disjoint: bool) -> tuple[Template, ...]:
    """All templates, or with `disjoint` those that only this split may use (28 train, 4 validation, 8 test)."""
    if not disjoint:
        return TEMPLATES
    owners: dict[int, Split] = {0: "test", 5: "test", 2: "validation"}
    return tuple(t for i, t in enumerate(TEMPLATES) if owners.get(i % 10, "train") == split)
