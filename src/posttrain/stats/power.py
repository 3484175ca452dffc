"""How many problems a difference needs, and how small a difference n problems can show.

n = (z_{α/2} + z_β)² (ω² + σ_A²/K_A + σ_B²/K_B) / δ² (Miller, arXiv 2411.00640, section 5): ω² is the variance of the
true item-level difference, σ² the sampling variance within an item, K the samples per item. The variance of observed
paired differences is already ω² + σ_A²/K_A + σ_B²/K_B, so both functions take that sum.
"""

from __future__ import annotations

import math

from scipy import special

from posttrain.errors import DataError


def _factor(alpha: float, power: float) -> float:
    if not (0 < alpha < 1 and 0 < power < 1):
        raise DataError(f"alpha and power lie between 0 and 1, got {alpha!r} and {power!r}.")
    return float(special.ndtri(1 - alpha / 2) + special.ndtri(power))


def difference_variance(
    omega2: float, sigma2_a: float = 0.0, sigma2_b: float = 0.0, k_a: int = 1, k_b: int = 1
) -> float:
    """ω² + σ_A²/K_A + σ_B²/K_B: the variance of one problem's observed difference."""
    return omega2 + sigma2_a / k_a + sigma2_b / k_b


def items_needed(difference: float, variance: float, *, alpha: float = 0.05, power: float = 0.8) -> int:
    """Problems needed to see a paired `difference` (0.01 = one point) given the variance of item differences."""
    if difference == 0:
        raise DataError("no number of problems shows a difference of 0. Name the smallest difference that matters.")
    return max(2, math.ceil(_factor(alpha, power) ** 2 * variance / difference**2))


def minimal_detectable_difference(n: int, variance: float, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """The smallest true paired difference that n problems show with the given power."""
    if n < 1:
        raise DataError(f"the minimal detectable difference needs at least one problem, got n = {n}.")
    return _factor(alpha, power) * math.sqrt(variance / n)
