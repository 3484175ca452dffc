"""Graders: what a response answered, and whether that is the gold.

`grade` judges one response, `grade_many` a batch, `check_gold` says whether a gold can be used at all,
`prepare` whether this machine can grade by a spec.
"""

from posttrain.grading.api import check_gold, grade, grade_many, prepare
from posttrain.grading.specs import SPECS, get_spec

__all__ = ["SPECS", "check_gold", "get_spec", "grade", "grade_many", "prepare"]
