"""The `rl` stage. Heavy imports wait until it runs."""

from __future__ import annotations

from posttrain.rl.config import RLConfig
from posttrain.rl.forecast import forecast
from posttrain.stage import Workspace
from posttrain.store import Checkpoint, Problems


def rl(config: RLConfig, model: Checkpoint, problems: Problems, work: Workspace) -> Checkpoint:
    """Reinforcement learning with verifiable rewards, from `model`, on the problems' own answers."""
    from posttrain.rl.loop import reinforce
    from posttrain.training.launch import launched

    with launched(config, "posttrain.rl.loop:reinforce", {"model": model, "problems": problems}, work) as ranks:
        reinforce(config, model, problems, work, ranks)
    return Checkpoint(work.dir)


rl.forecast = forecast  # type: ignore[attr-defined]
