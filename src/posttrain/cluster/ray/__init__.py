"""Recipes on Ray: stages as tasks, evaluations in shards, artifacts through storage that all nodes reach."""

from posttrain.cluster.ray.config import RayConfig
from posttrain.cluster.ray.executor import run_on_ray

__all__ = ["RayConfig", "run_on_ray"]
