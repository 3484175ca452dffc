"""The facts of a card, read from an artifact's manifest, its ancestors' and the evaluations of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from posttrain.errors import DataError, RecipeError, did_you_mean
from posttrain.hub.contents import split_file
from posttrain.hub.names import NAMES
from posttrain.report.cards import (
    DatasetFacts,
    ModelFacts,
    Origin,
    dataset_card,
    model_card,
    model_index_entry,
)
from posttrain.report.hyperparameters import hyperparameters
from posttrain.report.lineage import Made, ancestry, certificate_lines
from posttrain.report.selection import selections
from posttrain.store import KINDS, Artifact, Checkpoint, Manifest, Scores

TABLES = {
    "problems": ("problems.parquet", "Problems with checkable answers"),
    "samples": ("samples.parquet", "Worked answers"),
}


def model_facts(
    model: Artifact,
    *,
    scores: Sequence[Mapping[str, Any]] = (),
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    says: Sequence[str] = (),
    license: str | None = None,
) -> ModelFacts:
    """Of a training stage's folder or a model folder. scores: entries of report.json that are about it.

    settings: by fingerprint, what was asked. says: sentences about it.
    """
    made = ancestry([model])
    manifest = made[-1].manifest
    folder = model.model_dir if isinstance(model, Checkpoint) else model.path
    return ModelFacts(
        name=model.label,
        base=_base(made),
        license=license,
        adapter=(folder / "adapter_config.json").is_file(),
        datasets=_datasets(made),
        scores=tuple(scores),
        settings=dict(settings or {}),
        says=tuple(says),
        hyperparameters=hyperparameters(made),
        selections=tuple(selections(made)),
        certificate=tuple(certificate_lines(made)),
        way=_way(made),
        versions=manifest.versions if manifest else {},
        digest=made[-1].digest,
    )


def dataset_facts(data: Artifact, *, license: str | None = None) -> DatasetFacts:
    """Of a folder that holds problems or samples. DataError for any other."""
    import pyarrow.parquet as pq

    manifest = data.manifest()
    kind = manifest.kind if manifest else data.kind
    if kind not in TABLES:
        raise DataError(
            f"{data.path} holds {kind}, and a dataset card is about problems or samples. Give such a folder."
        )
    file, what = TABLES[kind]
    path = data.path / file
    if not path.is_file():
        raise DataError(f"{path} is missing: {data.label} is not finished, or not whole. Make it first.")
    splits = pq.read_table(path, columns=["split"]).column("split").to_pylist()
    counts = dict(Counter(s or "train" for s in splits))
    made = ancestry([data])
    teacher = manifest.config.get("teacher") if manifest else None
    return DatasetFacts(
        name=data.label,
        what=what,
        file=file,
        counts=counts,
        configs=_configs(data.path, counts),
        columns=tuple(_columns(path)),
        license=license,
        sources=_datasets(made),
        teacher=None if teacher is None else _called(teacher),
        summary=made[-1].summary,
        selections=tuple(selections(made)),
        certificate=tuple(certificate_lines(made)),
        way=_way(made),
        digest=made[-1].digest,
    )


def _configs(folder: Path, counts: Mapping[str, int]) -> tuple[Mapping[str, Any], ...]:
    """What `posttrain push` sends, in the Hub's form: asked traces as their stage laid them out, else splits."""
    laid_out = sorted(p.name for p in (folder / "dataset").glob("*.parquet"))
    if laid_out:
        return tuple({"config_name": name.removesuffix(".parquet"), "data_files": name} for name in laid_out)
    files = [{"split": split, "path": split_file(split)} for split in counts]
    return ({"config_name": "default", "data_files": files},) if files else ()


def _columns(path: Path) -> list[str]:
    import pyarrow.parquet as pq

    return list(pq.read_schema(path).names)


def _called(teacher: Any) -> str:
    """A teacher's name, also where it is written as a mapping."""
    return (
        str(teacher.get("name") or teacher.get("model") or "a teacher")
        if isinstance(teacher, Mapping)
        else str(teacher)
    )


def _base(made: Sequence[Made]) -> str | None:
    """The hub's model at the beginning of the way, where there is exactly one."""
    found = {str(m.path) for m in made if m.is_hub_name}
    return found.pop() if len(found) == 1 else None


def _datasets(made: Sequence[Made]) -> tuple[str, ...]:
    """The hub's datasets that `data` and `examples` stages read."""
    found: list[str] = []
    for m in made:
        config = m.manifest.config if m.manifest else {}
        name = config.get("dataset") or config.get("source")
        if not isinstance(name, str):
            continue
        if name in NAMES:
            found.append(NAMES[name].repository)
        elif name.startswith("hf://datasets/"):
            found.append("/".join(name.split("/")[3:5]))
        elif name.count("/") == 1 and not name.startswith(("/", ".")) and "." not in name.rsplit("/", 1)[-1]:
            found.append(name)
    return tuple(dict.fromkeys(found))


def _way(made: Sequence[Made]) -> tuple[Origin, ...]:
    return tuple(Origin(m.name, m.stage, m.inputs, m.digest, m.manifest.seconds if m.manifest else None) for m in made)


def card_of(
    folder: Path,
    evaluations: Sequence[Path] = (),
    *,
    name: str | None = None,
    license: str | None = None,
    base: str | None = None,
) -> str:
    """The card of whatever artifact stands in `folder`, with its scores in these evaluations.

    base: the hub name of what a model comes from, where the way back to it ends in a folder.

    DataError where that is neither a model nor data; RecipeError where an evaluation doesn't have the model.
    """
    manifest = Manifest.read(folder)
    if manifest is not None and manifest.status != "finished":
        raise DataError(f"{folder} is not finished, and a card says what is. Finish the stage that makes it first.")
    label = name or folder.resolve().name
    if manifest is not None and manifest.kind in TABLES:
        return dataset_card(dataset_facts(KINDS[manifest.kind](folder, label), license=license))
    model = Checkpoint(folder, label)
    if manifest is None and not any((folder / f).is_file() for f in ("config.json", "adapter_config.json")):
        raise DataError(f"{folder} is neither an artifact nor a model. Give a stage's folder or a model folder.")
    if manifest is not None and manifest.kind != Checkpoint.kind:
        raise DataError(f"{folder} holds {manifest.kind}, and cards are of models, problems and samples.")
    entries = [e for path in evaluations for e in entries_of(path, folder.resolve().name)]
    facts = model_facts(
        model,
        scores=[{"name": label, **e} for e in entries],
        settings={e["fingerprint"]: e["settings"] for e in entries},
        license=license,
    )
    return model_card(replace(facts, base=base) if base else facts)


def entries_of(evaluation: Path, model: str) -> list[dict[str, Any]]:
    """Results of the model called `model`, or of the only one. RecipeError where neither is told."""
    found: list[dict[str, Any]] = Scores(evaluation).read().get("entries", [])
    names = list(dict.fromkeys(str(e["model"]) for e in found))
    wanted = names[0] if len(names) == 1 else model
    if wanted not in names:
        raise RecipeError(
            f"{evaluation} has no model {wanted!r}.{did_you_mean(wanted, names)} It has: {', '.join(names) or 'none'}."
        )
    return [e for e in found if e["model"] == wanted]


def results_of(evaluation: Path, model: str) -> list[dict[str, Any]]:
    """An evaluation's results of one model as entries of a model-index."""
    return [model_index_entry(e, e.get("settings") or {}) for e in entries_of(evaluation, model)]
