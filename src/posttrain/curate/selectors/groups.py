"""Rows by group: a column's values, or clusters where a column is not what one wants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from posttrain.curate.base import Rows, Tools
from posttrain.curate.selectors.diversity import clustered
from posttrain.errors import DataError, did_you_mean

UNKNOWN = "(none)"


def group_names(rows: Rows, by: str) -> list[str]:
    """Each row's group, [n]: ``dataset`` (where the row came from), subject, level, another column or extra.KEY."""
    values = rows.datasets if by == "dataset" else rows.column(by)
    return [UNKNOWN if value is None else str(value) for value in values]


def domains(rows: Rows, by: str, clusters: int, model: str, tools: Tools, seed: int) -> list[str]:
    """Each row's domain, [n]: a column's values, or, by ``cluster``, the cluster of its question.

    DataError where the column is there and empty.
    """
    if by == "cluster":
        label = clustered(tools.embed(rows.texts("question"), model), clusters, seed).label
        return [f"cluster {k}" for k in label]
    names = group_names(rows, by)
    if set(names) == {UNKNOWN}:
        raise DataError(f"no row has a {by}, so there are no domains. Say domain: cluster, or map a column to {by!r}.")
    return names


def numbered(names: Sequence[str]) -> tuple[NDArray[np.int64], list[str]]:
    """(the number of each row's group, [n]; the groups in alphabetical order)."""
    known, numbers = np.unique(np.array(names, dtype=object).astype(str), return_inverse=True)
    return numbers.astype(np.int64), [str(name) for name in known]


def shares(sizes: Mapping[str, int], weights: Mapping[str, float] | None, temperature: float) -> dict[str, float]:
    """Share of each group, summing to 1: weight^(1/T), the sizes being the weights where none are given.

    T = 1 keeps the proportions, T → ∞ makes them equal (Devlin et al. 2018 for multilingual BERT; mT5, arXiv
    2010.11934, section 3.2, with α = 1/T). Groups that `weights` doesn't name get nothing. DataError for a name that no
    row has.
    """
    for name in weights or {}:
        if name not in sizes:
            raise DataError(
                f"selector 'mix': no row is of {name!r}, which has a weight.{did_you_mean(name, sizes)} There are: "
                f"{', '.join(f'{n} ({k:,})' for n, k in sizes.items())}."
            )
    given = {name: float(size) for name, size in sizes.items()} if weights is None else dict(weights)
    raised = {name: given.get(name, 0.0) ** (1 / temperature) if given.get(name) else 0.0 for name in sizes}
    total = sum(raised.values())
    return {name: value / total for name, value in raised.items()}
