"""What an evaluation is of: the benchmarks that a config asks for, and the weights that answer. Imports no torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from posttrain.benchmarks import Benchmark, from_problems, get_benchmark, slug
from posttrain.engines.base import Sampling
from posttrain.errors import RecipeError
from posttrain.evals.config import AskingConfig
from posttrain.store import Checkpoint, Problems, digest_files, fingerprint, sha256_file
from posttrain.store.manifest import data_files


def chosen_benchmarks(config: AskingConfig, problems: Problems | None, *, may_be_none: bool = False) -> list[Benchmark]:
    """The benchmarks a config asks for, with its template, sampling and grading in place of their own where given.

    RecipeError for none, unless that is allowed, and for two of one name.
    """
    chosen: list[Benchmark] = []
    if problems is not None:
        chosen.append(
            from_problems(
                problems,
                config.split,
                template=config.template or "chat",
                grading=config.grading,
                system=config.system,
                shots=config.shots,
                limit=config.limit,
            )
        )
    chosen += [
        get_benchmark(
            name,
            template=config.template,
            grading=config.grading,
            system=config.system,
            shots=config.shots or None,
            limit=config.limit,
        )
        for name in config.benchmarks
    ]
    if not chosen and not may_be_none:
        raise RecipeError("there is nothing to evaluate on. Add problems: …, or benchmarks: [gsm8k].")
    check_names([b.name for b in chosen], "benchmarks")
    return [b if b.likelihood else dataclasses.replace(b, sampling=_sampling(config, b.sampling)) for b in chosen]


def _sampling(config: AskingConfig, default: Sampling) -> Sampling:
    names = ("n", "temperature", "top_p", "top_k", "min_p", "max_tokens")
    return dataclasses.replace(default, **{k: v for k in names if (v := getattr(config, k)) is not None})


def check_names(names: Sequence[str], what: str) -> None:
    """Folders are named after these, so two of one name would overwrite each other."""
    slugs = [slug(n) for n in names]
    twice = sorted({n for n, s in zip(names, slugs, strict=True) if slugs.count(s) > 1})
    if twice:
        raise RecipeError(f"two {what} of this evaluation are called {twice[0]!r}. Give each its own name.")


def weights_digest(checkpoint: Checkpoint) -> str:
    """What answers: a digest of the model's files, or of its hub name and revision."""
    if not checkpoint.model_dir.is_dir():
        return fingerprint({"hub": str(checkpoint.path), "revision": checkpoint.revision})
    folder = checkpoint.model_dir
    return digest_files({name: sha256_file(folder / name) for name in data_files(folder)})
