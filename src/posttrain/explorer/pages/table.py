"""The pages by name: what stands in the navigation, the function behind each, and its template."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from posttrain.explorer.pages.certificate import certificate_page
from posttrain.explorer.pages.compare import compare_page
from posttrain.explorer.pages.data import data_page
from posttrain.explorer.pages.lineage import lineage_page
from posttrain.explorer.pages.map import map_page
from posttrain.explorer.pages.problem import problem_page
from posttrain.explorer.pages.runs import runs_page
from posttrain.explorer.pages.search import search_page, sql_page
from posttrain.explorer.site import Site

Make = Callable[[Site, Mapping[str, str]], dict[str, Any]]


@dataclass(frozen=True)
class Page:
    """title: in the navigation; empty where the page is reached from another. under: the one lit up there."""

    title: str
    make: Make
    under: str = ""


PAGES: dict[str, Page] = {
    "runs": Page("Runs", runs_page),
    "map": Page("Map", map_page),
    "compare": Page("Compare", compare_page),
    "search": Page("Search", search_page),
    "data": Page("Data", data_page),
    "lineage": Page("Lineage", lineage_page),
    "certificate": Page("Certificate", certificate_page),
    "problem": Page("", problem_page, "map"),
    "sql": Page("", sql_page, "search"),
}
SERVED_ONLY = ("search", "sql", "raw")  # what a folder of pages can't do
