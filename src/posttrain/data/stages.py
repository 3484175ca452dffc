"""The `data` stage: problems with a split each, in one table."""

from __future__ import annotations

from collections import Counter
from typing import Any

from posttrain.data import splits, synthetic
from posttrain.data.config import SPLITS, DataConfig, asked
from posttrain.data.forecast import forecast
from posttrain.data.load import Loaded, load
from posttrain.data.synthetic.levels import LEVELS
from posttrain.records import Problem, problems_to_table
from posttrain.stage import Workspace
from posttrain.store import Problems


def data(config: DataConfig, work: Workspace) -> Problems:
    """Makes or loads the problems that `config` names: ``problems.parquet``, splits in the `split` column.

    Ids are unique, no split asked for is empty, and no problem stands in two splits; DataError where that can't be.
    """
    seed = work.derive("data") if config.seed is None else config.seed
    loaded = _generate(config, seed) if config.synthetic else load(config)
    splits.check_ids(loaded.problems, config.dataset)
    problems, shared = splits.part(loaded.problems, config)
    problems, unreadable = splits.readable(problems, config)
    wanted: set[str] = {p.split for p in loaded.problems}
    if not config.synthetic:
        problems = splits.of_levels(problems, config)
        for split, count in (("validation", config.validation), ("test", config.test)):
            if count:
                problems = splits.reserve(problems, split, count, seed, config.dataset)
                wanted.add(split)
        problems = splits.limited(problems, config)
    splits.check_filled(problems, wanted, config.dataset)
    problems = [p for split in SPLITS for p in problems if p.split == split]
    work.write_table("problems.parquet", problems_to_table(problems))
    dropped = {"dropped_shared": shared, "dropped_unreadable": unreadable}
    work.summarise(**_counts(problems), **{k: v for k, v in dropped.items() if v}, **loaded.source)
    return Problems(work.dir)


def _generate(config: DataConfig, seed: int) -> Loaded:
    make = synthetic.texts if config.dataset == "synthetic-text" else synthetic.problems
    levels = config.levels or tuple(LEVELS)
    problems: list[Problem] = []
    for split, count in asked(config).items():
        problems += make(seed, split, count, levels, disjoint_templates=config.disjoint_templates)
    return Loaded(problems)


def _counts(problems: list[Problem]) -> dict[str, Any]:
    """How many problems in every split and, where they have levels, how many of each."""
    counts: dict[str, Any] = dict(Counter(p.split for p in problems))
    levels = Counter(p.level for p in problems if p.level is not None)
    if levels:
        counts["levels"] = {str(level): levels[level] for level in sorted(levels)}
    return counts


data.forecast = forecast  # type: ignore[attr-defined]
