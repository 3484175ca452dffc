"""The native engine: sampling and scoring in this process, on the Hugging Face module's own weights.

scheduler.py decides which sample stands in which row, cache.py holds keys and values, runner.py is the forward pass,
sampler.py draws, noise.py is the source of randomness, weights.py lays out the module's matrices.
"""

from posttrain.engines.native.engine import NativeEngine

__all__ = ["NativeEngine"]
