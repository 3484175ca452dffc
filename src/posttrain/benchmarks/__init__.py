"""Benchmarks: problems + prompt + sampling + grading, with a fingerprint; and the registry of the field's."""

from posttrain.benchmarks.benchmark import Benchmark, slug
from posttrain.benchmarks.declaration import Declaration
from posttrain.benchmarks.from_problems import from_problems
from posttrain.benchmarks.load import get_benchmark
from posttrain.benchmarks.registry import DECLARATIONS
from posttrain.benchmarks.user import is_user_file, user_files

__all__ = [
    "DECLARATIONS",
    "Benchmark",
    "Declaration",
    "from_problems",
    "get_benchmark",
    "is_user_file",
    "slug",
    "user_files",
]
