"""`posttrain benchmarks`, and what an evaluation keeps of a benchmark's problems."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from posttrain.benchmarks import DECLARATIONS, get_benchmark
from posttrain.evals.answering import as_sample, graded
from posttrain.evals.regrade import problem_of
from posttrain.records import Completion

Posttrain = Callable[..., subprocess.CompletedProcess[str]]


def test_the_verb_lists_every_benchmark_and_tells_all_of_one(posttrain: Posttrain) -> None:
    listed = posttrain("benchmarks")
    assert listed.returncode == 0, listed.stderr
    assert all(f"\n{d.name} " in listed.stdout for d in DECLARATIONS)
    assert "sha256" in posttrain("benchmarks", "hendrycks_math500").stdout
    facts = json.loads(posttrain("benchmarks", "svamp", "--json").stdout)
    assert [f["items"] for f in facts] == [1000]
    assert "Did you mean 'svamp'" in posttrain("benchmarks", "swamp").stderr


def test_listing_benchmarks_imports_no_torch() -> None:
    code = "import posttrain.benchmarks.listing, sys; assert not {'torch', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_program_can_be_regraded_from_its_sample_alone(mirror: Path) -> None:
    for name in ("humaneval", "mbpp"):
        problem = get_benchmark(name, limit=1).problems[0]
        begun = problem.question if name == "humaneval" else ""
        response = f"```python\n{begun}{problem.solution}\n```"
        sample = as_sample(problem, Completion(problem.id, 0, (1,), (0.0,), "stop"), response, "model")
        again = graded(sample, problem_of(sample), "code").verdict
        assert again is not None
        assert again.reason == "correct"
