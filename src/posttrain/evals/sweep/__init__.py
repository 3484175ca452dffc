"""All checkpoints of a run, or all revisions of a repository, on one fixed problem set."""

from posttrain.evals.sweep.checkpoints import step_of, steps_of, with_checkpoints
from posttrain.evals.sweep.config import SweepConfig
from posttrain.evals.sweep.store import Sweep, read_sweep

__all__ = ["Sweep", "SweepConfig", "read_sweep", "step_of", "steps_of", "with_checkpoints"]
