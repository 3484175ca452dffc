"""What is registered, and what of it can be evaluated here."""

from __future__ import annotations

from typing import Any, Literal

from posttrain.benchmarks.benchmark import UNGRADED
from posttrain.benchmarks.declaration import Declaration, MirrorFile
from posttrain.benchmarks.load import get_benchmark
from posttrain.benchmarks.registry import DECLARATIONS
from posttrain.hub import mirror_root
from posttrain.prompts import get_template
from posttrain.store import sha256_file

# How the answer is found in a response, by grading.
EXTRACTION = {
    "gsm8k": "a number: <answer>, \\boxed, 'the answer is', ####, else the last",
    "math": "a formula: <answer>, \\boxed, 'the answer is', else the last",
    "choice": "a letter: <answer>, \\boxed, 'the answer is', or alone",
    "exact": "the whole response",
    "code": "the program: the last code block, or the whole response",
    "ifeval": "the whole response",
    UNGRADED: "none",
}

# made: needs no files. yours: files that the declaration has no sha256 of. changed: other bytes than were declared.
Presence = Literal["made", "yes", "yours", "changed", "no"]


def presence(declared: Declaration) -> Presence:
    """Whether the mirror holds a declaration's files, and as they were declared."""
    if declared.make is not None:
        return "made"
    root = mirror_root()
    files = _files(declared)
    paths = [root / file.name for file in files] if root else []
    if not paths or not all(path.is_file() for path in paths):
        return "no"
    if any(file.sha256 is None for file in files):
        return "yours"
    same = all(sha256_file(path) == file.sha256 for path, file in zip(paths, files, strict=True))
    return "yes" if same else "changed"


def _files(declared: Declaration) -> tuple[MirrorFile, ...]:
    return (*declared.files, declared.examples_file) if declared.examples_file else declared.files


def measured(name: str) -> dict[str, Any]:
    """What only loading the problems tells: the fingerprint, and the ids of the examples that are shown (the first of
    each subject's, where each item shows its own subject's)."""
    made = get_benchmark(name)
    return {"fingerprint": made.fingerprint, "shot_ids": [s.id for s in made.shots]}


def listing() -> list[dict[str, Any]]:
    """Every registered benchmark as JSON-able facts, in the order of the registry."""
    return [
        {
            "name": d.name,
            "version": d.version,
            "items": d.items,
            "split": d.split,
            "here": presence(d),
            "licence": d.licence,
            "origin": d.origin,
            "files": [{"name": file.name, "sha256": file.sha256} for file in _files(d)],
            "grading": d.grading,
            "extraction": "by log-likelihood" if d.likelihood else EXTRACTION[d.grading],
            "template": d.template,
            "system": d.system,
            "shots": d.shots,
            "n": d.sampling.n,
            "temperature": d.sampling.temperature,
            "top_p": d.sampling.top_p,
            "max_tokens": d.sampling.max_tokens,
            "stops": list(dict.fromkeys((*d.sampling.stop, *get_template(d.template).stop))) or ["end of turn"],
            "metrics": list(d.metrics),
            "lm_eval": d.lm_eval,
            "lighteval": d.lighteval,
            "known_bad": dict(d.known_bad),
            "note": d.note,
            "obtain": d.obtain,
            "reference": list(d.reference),
        }
        for d in DECLARATIONS
    ]
