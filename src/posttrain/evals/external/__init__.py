"""Other people's evaluation suites, run as processes in an environment of their own and read back as our Scores."""

from posttrain.evals.external.config import SuiteConfig
from posttrain.evals.external.run import run_suites

__all__ = ["SuiteConfig", "run_suites"]
