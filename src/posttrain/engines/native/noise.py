"""Uniform numbers by (seed, sample, position): a counter-based generator, so noise knows nothing of the batch.

SplitMix64 (Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators"): the output function mixes
key + position x golden ratio; keys of different samples are themselves mixed from (seed, sample).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def sample_key(seed: int, index: int) -> int:
    """The 64-bit key of sample `index` of a prompt with `seed`."""
    start = np.array([seed & _MASK], dtype=np.uint64)
    with np.errstate(over="ignore"):
        first = int(_mix(start)[0])
        return int(_mix(np.array([(first + (index + 1) * _GOLDEN) & _MASK], dtype=np.uint64))[0])


def uniforms(keys: NDArray[np.uint64], positions: NDArray[np.int64]) -> NDArray[np.float64]:
    """One number in [0, 1) with 53 random bits per row, for keys [B] and positions [B]."""
    z = keys + (positions + 1).astype(np.uint64) * np.uint64(_GOLDEN)
    bits: NDArray[np.float64] = (_mix(z) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return bits
