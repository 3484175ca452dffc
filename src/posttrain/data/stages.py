"""The `data` stage: problems with a split each, in one table."""

from __future__ import annotations

from collections import Counter

from posttrain.data import synthetic
from posttrain.data.config import DataConfig
from posttrain.data.synthetic.split import SPLITS
from posttrain.records import Problem, problems_to_table
from posttrain.stage import Workspace
from posttrain.store import Problems


def data(config: DataConfig, work: Workspace) -> Problems:
    """Makes or loads the problems that `config` names: ``problems.parquet``, splits in the `split` column."""
    seed = work.derive("data") if config.seed is None else config.seed
    make = synthetic.texts if config.dataset == "synthetic-text" else synthetic.problems
    sizes = {"train": config.train, "validation": config.validation, "test": config.test}
    problems: list[Problem] = []
    for split in SPLITS:
        problems += make(seed, split, sizes[split], config.levels, disjoint_templates=config.disjoint_templates)
    work.write_table("problems.parquet", problems_to_table(problems))
    work.summarise(**Counter(p.split for p in problems))
    return Problems(work.dir)
