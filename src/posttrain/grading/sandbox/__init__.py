"""A rootless sandbox for candidate programs: limits, no privileges, Landlock, seccomp; and bubblewrap."""

from posttrain.grading.sandbox.isolation import Isolation, available, level_named, require
from posttrain.grading.sandbox.run import Limits, Outcome, run_program, run_python

__all__ = ["Isolation", "Limits", "Outcome", "available", "level_named", "require", "run_program", "run_python"]
