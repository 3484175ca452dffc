"""posttrain: make a small language model reason better, and prove it."""

__version__ = "0.1.0"
