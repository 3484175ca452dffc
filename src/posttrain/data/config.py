"""The config of the `data` stage."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from posttrain.config import Config
from posttrain.data.columns import Columns
from posttrain.data.rows import SUFFIXES
from posttrain.data.synthetic.levels import LEVELS
from posttrain.errors import did_you_mean

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
SYNTHETIC = ("synthetic", "synthetic-text")
NAMED = ("gsm8k", "math")
GENERATED: dict[Split, int] = {"train": 10_000, "validation": 500, "test": 1_000}


class DataConfig(Config):
    dataset: str
    """``synthetic``, ``synthetic-text``, ``gsm8k``, ``math``, a file (jsonl, json, csv, parquet), a folder with one
    such file per split, a hub id (``org/name``) or a file there (``hf://datasets/org/name/file.jsonl``)."""
    subset: str | None = None
    """Which subset (config) of a hub dataset."""
    revision: str | None = None
    """Branch, tag or commit of a hub dataset; gsm8k and math have one of their own."""
    columns: Columns = Columns()
    """Which column of a file or hub dataset holds what."""
    splits: dict[Split, str] = Field(default={})
    """What a hub dataset calls our splits, where it is not their usual name."""
    train: int | None = Field(default=None, ge=1)
    """How many training problems the synthetic task makes (10,000)."""
    validation: int | None = Field(default=None, ge=0)
    """How many problems the synthetic task makes (500), or how many are taken out of train, seeded, for validation."""
    test: int | None = Field(default=None, ge=0)
    """The same for the test split (synthetic: 1,000)."""
    limit: int | dict[Split, int] | None = None
    """Keep only the first so many problems of every split, or of the splits named."""
    levels: tuple[int, ...] | None = None
    """Only these levels. The synthetic task takes them in turn."""
    disjoint_templates: bool = False
    """Synthetic: no template in two splits."""
    seed: int | None = None
    """Seed of what is made and of what is taken out; the stage's own where absent."""
    calculator_marks: Literal["strip", "keep"] = "strip"
    """GSM8K's ``<<48/2=24>>`` in solutions."""
    grading: str | None = None
    """A grader spec that must be able to read every gold answer."""
    unreadable: Literal["refuse", "drop"] = "refuse"
    """What to do with problems whose gold answer `grading` can't read."""
    shared: Literal["refuse", "drop"] = "refuse"
    """What to do with training (or validation) problems that are also test (or validation) problems."""

    @property
    def synthetic(self) -> bool:
        return self.dataset in SYNTHETIC

    @property
    def path(self) -> Path | None:
        """The person's own file or folder, if that is what `dataset` names."""
        path = Path(self.dataset).expanduser()
        named = self.synthetic or self.dataset in NAMED
        return path if not named and (path.suffix.lower() in SUFFIXES or path.is_dir()) else None

    def files(self) -> dict[str, Path]:
        """The person's own files: their content counts in the fingerprint."""
        if self.path is None:
            return {}
        files = split_files(self.path) if self.path.is_dir() else {"dataset": self.path}
        return {name: file for name, file in files.items() if file.is_file()}

    @model_validator(mode="after")
    def _name_is_possible(self) -> Self:
        if not self.dataset.strip():
            raise ValueError("dataset is empty")
        if not self.synthetic and self.dataset not in NAMED and self.path is None and "/" not in self.dataset:
            known = (*SYNTHETIC, *NAMED)
            raise ValueError(
                f"unknown dataset {self.dataset!r}.{did_you_mean(self.dataset, known)} Write a name "
                f"({', '.join(known)}), a file ({', '.join(SUFFIXES)}) or a hub id (org/name)"
            )
        return self

    @model_validator(mode="after")
    def _keys_fit_the_dataset(self) -> Self:
        """A key that would be ignored is an error: whoever wrote it expects something of it."""
        given = self.model_fields_set
        hub = not self.synthetic and self.path is None
        fits = {
            "train": self.synthetic,
            "disjoint_templates": self.synthetic,
            "limit": not self.synthetic,
            "shared": not self.synthetic,
            "unreadable": self.grading is not None,
            "calculator_marks": self.dataset == "gsm8k",
            "columns": not self.synthetic and self.dataset not in NAMED,
            "splits": hub and self.dataset not in NAMED,
            "subset": hub and self.dataset not in NAMED,
            "revision": hub,
        }
        instead = {"train": " Use limit: {train: N}", "limit": " Use train, validation and test"}
        for name, fitting in fits.items():
            if name in given and not fitting:
                raise ValueError(f"{name} means nothing for dataset {self.dataset!r}.{instead.get(name, ' Remove it')}")
        if self.synthetic and self.levels is not None and (not self.levels or not set(self.levels) <= set(LEVELS)):
            raise ValueError(f"levels is {list(self.levels)}, but the synthetic task has {', '.join(map(str, LEVELS))}")
        return self


def asked(config: DataConfig) -> dict[Split, int]:
    """How many synthetic problems each split shall have."""
    given: dict[Split, int | None] = {"train": config.train, "validation": config.validation, "test": config.test}
    return {split: GENERATED[split] if count is None else count for split, count in given.items()}


def split_files(folder: Path) -> dict[str, Path]:
    """Split → its file, for a folder with ``train.jsonl``, ``test.parquet`` and so on."""
    return {p.stem: p for p in sorted(folder.iterdir()) if p.stem in SPLITS and p.suffix.lower() in SUFFIXES}
