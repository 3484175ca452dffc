"""The selectors, and the table of their names."""

from __future__ import annotations

from posttrain.curate.base import Entry, Selector

SELECTORS: dict[str, Entry[Selector]] = {}
