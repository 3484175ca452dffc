"""Estimates, paired tests, families, power, pass@k, trends: arrays in, frozen records out (numpy and scipy only)."""

from posttrain.stats.families import benjamini_hochberg, holm
from posttrain.stats.intervals import (
    Estimate,
    bca_interval,
    clustered_standard_error,
    estimate_accuracy,
    item_means,
    standard_error,
    t_interval,
    wilson,
)
from posttrain.stats.paired import Paired, compare_paired, mcnemar, sign_flip
from posttrain.stats.power import difference_variance, items_needed, minimal_detectable_difference
from posttrain.stats.repeated import majority_score, pass_at_k
from posttrain.stats.seeds import SeedComparison, compare_seeds, detectable_over_seeds
from posttrain.stats.trend import Trend, trend
from posttrain.stats.verdict import in_words

__all__ = [
    "Estimate",
    "Paired",
    "SeedComparison",
    "Trend",
    "bca_interval",
    "benjamini_hochberg",
    "clustered_standard_error",
    "compare_paired",
    "compare_seeds",
    "detectable_over_seeds",
    "difference_variance",
    "estimate_accuracy",
    "holm",
    "in_words",
    "item_means",
    "items_needed",
    "majority_score",
    "mcnemar",
    "minimal_detectable_difference",
    "pass_at_k",
    "sign_flip",
    "standard_error",
    "t_interval",
    "trend",
    "wilson",
]
