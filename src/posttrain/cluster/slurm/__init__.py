"""SLURM: a recipe's stages as batch jobs that wait for each other, and what became of them. Knows no torch."""

from posttrain.cluster.slurm.config import SlurmConfig, slurm_config
from posttrain.cluster.slurm.freezing import Frozen, freeze
from posttrain.cluster.slurm.status import NodeStatus, status_of
from posttrain.cluster.slurm.submit import Submission, submit

__all__ = ["Frozen", "NodeStatus", "SlurmConfig", "Submission", "freeze", "slurm_config", "status_of", "submit"]
