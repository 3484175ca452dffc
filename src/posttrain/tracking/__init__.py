"""Metrics to metrics.jsonl always (W&B, trackio, TensorBoard behind the same call) and progress for people."""

from posttrain.tracking.metrics import Metrics
from posttrain.tracking.progress import Progress
from posttrain.tracking.sinks import SINKS, Sink, open_sinks, require

__all__ = ["SINKS", "Metrics", "Progress", "Sink", "open_sinks", "require"]
