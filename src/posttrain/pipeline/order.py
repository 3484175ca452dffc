"""An order for one artifact: which stage, with which config and inputs, where; and the facts its result depends on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from posttrain.config import Config
from posttrain.errors import RecipeError, did_you_mean
from posttrain.pipeline.external import describe, digest_of, open_artifact, with_unique_labels
from posttrain.stage import Input, StageSpec
from posttrain.store import Artifact, sha256_file

Given = Artifact | str | Path
Inputs = Mapping[str, Given | Sequence[Given] | None]
Opened = Mapping[str, Artifact | list[Artifact]]


@dataclass(frozen=True)
class Order:
    """What is to be made, of what, and where. `label` is what people call it (default: the folder's name).

    tracking: trackers that are given the metrics too; the result does not depend on them.
    """

    spec: StageSpec
    config: Config
    inputs: Opened
    directory: Path
    seed: int
    label: str = ""
    tracking: tuple[str, ...] = ()

    @property
    def artifact(self) -> Artifact:
        """A handle on what will stand in `directory`."""
        return self.spec.output(self.directory, name=self.label or self.directory.resolve().name)

    def all_inputs(self) -> list[Artifact]:
        """Every input artifact, lists laid flat."""
        return [a for given in self.inputs.values() for a in (given if isinstance(given, list) else [given])]

    def facts(self) -> dict[str, Any]:
        """What the result depends on. The names in a list input count too: they stand in tables."""
        return self.own_facts() | {
            "inputs": {
                name: [{"name": a.label, "digest": digest_of(a)} for a in given]
                if isinstance(given, list)
                else {"digest": digest_of(given)}
                for name, given in self.inputs.items()
            }
        }

    def own_facts(self) -> dict[str, Any]:
        """The facts that are known before the inputs are made."""
        return {
            "stage": self.spec.name,
            "version": self.spec.version,
            "seed": self.seed,
            "config": self.config.fingerprint_values(),
            "files": {key: sha256_file(path) for key, path in self.config.files().items()},
        }


def open_inputs(spec: StageSpec, inputs: Inputs) -> dict[str, Artifact | list[Artifact]]:
    """Paths become artifacts, one becomes a list where many are taken; all is checked against the signature."""
    known = [i.name for i in spec.inputs]
    for name in inputs:
        if name not in known:
            takes_what = ", ".join(known) or "none"
            raise RecipeError(
                f"stage '{spec.name}' has no input '{name}'.{did_you_mean(name, known)} It takes: {takes_what}."
            )
    opened: dict[str, Artifact | list[Artifact]] = {}
    for takes in spec.inputs:
        value = inputs.get(takes.name)
        where = f"stage '{spec.name}': input '{takes.name}'"
        if value is None:
            if takes.required:
                raise RecipeError(f"{where} ({describe(takes)}) is missing. Add {takes.name}=FOLDER.")
            continue
        several = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        artifacts = [_open(item, takes, where) for item in several]
        if takes.many:
            opened[takes.name] = with_unique_labels(artifacts)
        elif len(artifacts) == 1:
            opened[takes.name] = artifacts[0]
        else:
            raise RecipeError(f"{where} takes one artifact, not {len(artifacts)}. Give one.")
    return opened


def _open(item: Given, takes: Input, where: str) -> Artifact:
    if not isinstance(item, Artifact):
        return open_artifact(item, takes, where)
    if not isinstance(item, takes.kinds):
        raise RecipeError(
            f"{where} needs {describe(takes)}, but {item.label} holds {item.kind}. Give a folder of {describe(takes)}."
        )
    return item
