"""The `sweep` stage: every checkpoint of a run, or every revision of a repository, on one fixed problem set.

Imports no torch: engines are opened inside the function.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

from posttrain.benchmarks import Benchmark
from posttrain.evals.analytics.profile import as_json
from posttrain.evals.chosen import chosen_benchmarks
from posttrain.evals.comparison import MAX_UNDECIDED
from posttrain.evals.stages import SCORES_VERSION
from posttrain.evals.sweep.answering import Digest, answer_point
from posttrain.evals.sweep.config import SweepConfig
from posttrain.evals.sweep.forecast import forecast
from posttrain.evals.sweep.points import Point, points_of
from posttrain.evals.sweep.says import course_of, says
from posttrain.evals.sweep.shards import answer_in_shards, shards_for
from posttrain.evals.sweep.store import ANALYTICS, SWEEP, SWEEP_VERSION
from posttrain.evals.sweep.warm import WarmEngine
from posttrain.evals.sweep.words import best_in_words, trend_in_words
from posttrain.stage import Workspace
from posttrain.store import Checkpoint, Problems, Scores


def sweep(
    config: SweepConfig,
    run: Checkpoint,
    work: Workspace,
    problems: Problems | None = None,
    base: Checkpoint | None = None,
) -> Scores:
    """Answers and scores of every checkpoint of a run on one fixed problem set, and what they say over steps.

    run: a training stage's folder, or a repository on the Hub. base: what it was trained from, as step 0.

    One engine is kept warm and given each checkpoint's weights; several GPUs share the checkpoints. Each checkpoint's
    files stand as soon as it is finished, and scores.json and sweep.json grow with them. An interrupted sweep keeps
    each finished sample and ends with the same bytes as an uninterrupted one.
    """
    benchmarks = chosen_benchmarks(config, problems)
    walk = points_of(config, run, base)
    timing: list[dict[str, Any]] = []
    done: dict[str, Digest] = {}
    with work.progress(len(walk), f"{run.label} over its checkpoints", "checkpoints") as bar:
        for point, digest in _answered(config, benchmarks, walk, work, problems):
            done[point.label] = digest
            timing += digest["timing"]
            _publish(config, run, benchmarks, [p for p in walk if p.label in done], done, work, finished=False)
            bar.update(1, step=point.step)
    work.write_json("timing.json", sorted(timing, key=lambda row: str(row["model"])))
    facts = _publish(config, run, benchmarks, walk, done, work, finished=True)
    _conclude(facts, done, work)
    return Scores(work.dir)


sweep.version = 2  # type: ignore[attr-defined]
sweep.forecast = forecast  # type: ignore[attr-defined]


def _answered(
    config: SweepConfig,
    benchmarks: Sequence[Benchmark],
    walk: Sequence[Point],
    work: Workspace,
    problems: Problems | None,
) -> Iterator[tuple[Point, Digest]]:
    """Every checkpoint once, as it is finished."""
    shards = shards_for(config, work.device, len(walk))
    if len(shards) > 1:
        yield from answer_in_shards(config, walk, work, problems, shards)
        return
    with closing(WarmEngine(config, work)) as engine:
        for point in walk:
            yield point, answer_point(config, benchmarks, point, work, engine.serve)


def _publish(
    config: SweepConfig,
    run: Checkpoint,
    benchmarks: Sequence[Benchmark],
    walk: Sequence[Point],
    done: dict[str, Digest],
    work: Workspace,
    *,
    finished: bool,
) -> dict[str, Any]:
    """Writes scores.json, sweep.json and analytics.json of the checkpoints that stand; returns what sweep.json says."""
    entries = [entry for point in walk for entry in done[point.label]["entries"]]
    graded = [e for e in entries if "accuracy" in e]
    ungraded = [e for e in entries if "accuracy" not in e]
    steps = [p.step for p in walk]
    scores = {"version": SCORES_VERSION, "entries": graded, **({"ungraded": ungraded} if ungraded else {})}
    facts = {
        "version": SWEEP_VERSION,
        "run": run.label,
        "finished": finished,
        "steps": [p.as_json() for p in walk],
        "benchmarks": [_benchmark(b) for b in benchmarks],
        "says": {b.name: _says(config, b, walk, done, work) for b in benchmarks if b.graded} if finished else {},
    }
    analytics = {b.name: as_json(steps, [done[p.label]["profiles"][b.name] for p in walk]) for b in benchmarks}
    work.write_json("scores.json", scores)
    work.write_json(SWEEP, facts)
    work.write_json(ANALYTICS, analytics)
    return facts


def _benchmark(benchmark: Benchmark) -> dict[str, Any]:
    return {
        "name": benchmark.name,
        "slug": benchmark.slug,
        "fingerprint": benchmark.fingerprint,
        "n": len(benchmark.problems),
        "samples_per_item": benchmark.sampling.n,
        "graded": benchmark.graded,
    }


def _says(
    config: SweepConfig, benchmark: Benchmark, walk: Sequence[Point], done: dict[str, Digest], work: Workspace
) -> dict[str, Any]:
    items = [done[p.label]["items"][benchmark.name] for p in walk]
    course = course_of([p.label for p in walk], [p.step for p in walk], items, benchmark.sampling.n)
    share = config.selection
    if share is None:
        share = 1.0 if benchmark.name.endswith("/validation") else 0.5
    return says(course, share, seed=work.derive("paired"))


def _conclude(facts: dict[str, Any], done: dict[str, Digest], work: Workspace) -> None:
    """The certificate's line, the summary, and what the sweep says in words."""
    undecided = max((e.get("undecided_rate", 0.0) for d in done.values() for e in d["entries"]), default=0.0)
    work.certify("the grader decides", undecided <= MAX_UNDECIDED, undecided=undecided, tolerance=MAX_UNDECIDED)
    work.summarise(checkpoints=len(facts["steps"]))
    for name, said in facts["says"].items():
        best, trend = said["best"], said["trend"]
        if trend is not None:
            refused = {r["label"] for r in said["refused"]}
            steps = [s["step"] for s in facts["steps"] if s["label"] not in refused]
            work.note(f"{name}: {trend_in_words(trend, steps)}")
        if best is not None:
            work.note(f"{name}: {best_in_words(best)}")
            work.summarise(**{f"best step on {name}": best["step"]})
