"""Metrics to metrics.jsonl always (W&B, trackio, TensorBoard behind the same call) and progress for people."""

from posttrain.tracking.metrics import Metrics
from posttrain.tracking.progress import Progress

__all__ = ["Metrics", "Progress"]
