"""The filters, one small function each, and the table of their names."""

from __future__ import annotations

from posttrain.curate.base import Entry, Filter

FILTERS: dict[str, Entry[Filter]] = {}
