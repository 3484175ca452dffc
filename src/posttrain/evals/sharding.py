"""How an evaluation is parted: a model's answers to one block of a benchmark's problems are a part.

A block is what the engine is handed together in any case, and its noise comes from the problems' ids, so neither the
order of the parts nor who makes them can be seen in the result.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from typing import Any

from posttrain.benchmarks import slug
from posttrain.evals.chosen import check_names, chosen_benchmarks, weights_digest
from posttrain.evals.config import EvalConfig
from posttrain.evals.model_run import ModelRun, part_of
from posttrain.evals.sweep import with_checkpoints
from posttrain.stage import Workspace


def part_names(config: EvalConfig, inputs: Mapping[str, Any]) -> list[str]:
    """The journals of all blocks of all models. None where another's machines answer (a server, a suite's own
    environment), or an engine takes several devices for itself."""
    spread = config.engine == "vllm" and config.vllm.replicas * config.vllm.tensor_parallel > 1
    if config.suites or config.server is not None or spread:
        return []
    benchmarks = chosen_benchmarks(config, inputs.get("problems"))
    models = with_checkpoints(inputs["models"], config.checkpoints)
    check_names([m.label for m in models], "models")
    return [
        part_of(model, benchmark, start)
        for model in models
        for benchmark in benchmarks
        for start in range(0, len(benchmark.problems), config.block)
    ]


def make_parts(
    config: EvalConfig, inputs: Mapping[str, Any], work: Workspace, names: Iterable[str]
) -> Generator[str, None, None]:
    """Answers the blocks named and yields each name when its journal is whole. A model's engine stays open until
    another's turn comes."""
    benchmarks = {b.slug: b for b in chosen_benchmarks(config, inputs.get("problems"))}
    models = {slug(m.label): m for m in with_checkpoints(inputs["models"], config.checkpoints)}
    run: ModelRun | None = None
    try:
        for name in names:
            _, whose, benchmark, block = name.split("/")
            if run is None or run.model is not models[whose]:
                if run is not None:
                    run.close()
                run = ModelRun(config, models[whose], work, weights_digest(models[whose]))
            run.answer_part(benchmarks[benchmark], int(block.removesuffix(".jsonl")))
            yield name
    finally:
        if run is not None:
            run.close()
