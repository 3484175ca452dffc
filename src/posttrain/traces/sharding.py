"""How the asking of a model on this machine is parted: its answers to a block of problems are a part.

Teachers of providers are not parted: their limits, their budget and their journal are one.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from contextlib import closing
from typing import Any

from posttrain.stage import Workspace
from posttrain.traces.config import LOCAL, TracesConfig


def part_names(config: TracesConfig, inputs: Mapping[str, Any]) -> list[str]:
    """The files of all blocks. None where no model of ours is asked, or its engine takes several devices for itself."""
    from posttrain.traces.local import blocks_of

    spread = config.engine == "vllm" and config.vllm.replicas * config.vllm.tensor_parallel > 1
    if LOCAL not in config.teachers or inputs.get("model") is None or spread:
        return []
    return list(blocks_of(inputs["problems"].read(config.split)[: config.limit]))


def make_parts(
    config: TracesConfig, inputs: Mapping[str, Any], work: Workspace, names: Iterable[str]
) -> Generator[str, None, None]:
    """Answers the blocks named and yields each name when its file stands."""
    from posttrain.traces.local import Answering, blocks_of

    blocks = blocks_of(inputs["problems"].read(config.split)[: config.limit])
    with closing(Answering(config, inputs["model"], work)) as answering:
        for name in names:
            if not (work.state / name).exists():
                answering.write(blocks[name], name)
            yield name
