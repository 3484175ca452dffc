"""lighteval (Hugging Face, 0.13): the exact command, and its results and details read back.

Written against lighteval 0.13.0: `main_accelerate.py`, `main_endpoint.py`, `logging/evaluation_tracker.py`.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from posttrain.errors import DataError
from posttrain.evals.external.environment import installed_version, program
from posttrain.evals.external.job import Job, Outcome, Scored, joined, judged_by_suite, option
from posttrain.records import Sample


def command(job: Job, out: Path, device: str) -> list[str]:
    """What is run. device: cpu, or cuda, of which the process is then shown one."""
    suite, args = job.suite, dict(job.suite.args)
    extra = args.pop("model_args", {})
    if suite.server is None:
        where = {"model_name": job.model.ref, "device": device, "dtype": job.dtype}
        if job.model.revision:
            where["revision"] = job.model.revision
        # Its own cache knows a model by its path alone, and would answer for other weights at the same place.
        backend, model = ["accelerate"], where | {"cache_dir": str(out / "cache")} | extra
    else:
        where = {"model_name": f"openai/{job.served or job.model.label}", "base_url": suite.server.rstrip("/")}
        backend, model = ["endpoint", "litellm"], where | extra
    words = [str(program("lighteval")), *backend, joined(model), f"{job.task}|{suite.shots or 0}"]
    words += ["--output-dir", str(out), "--save-details"]
    words += option("max_samples", suite.limit, dashes="-")
    return words + [word for key, value in args.items() for word in option(key, value, dashes="-")]


def read(out: Path, job: Job) -> Outcome:
    """What a finished run wrote below `out`. DataError where it is not what this version writes."""
    import pyarrow.parquet as pq

    files = sorted((out / "results").rglob("results_*.json"))
    details = sorted((out / "details").rglob("details_*.parquet"))
    if not files or not details:
        raise DataError(f"{job.name}: lighteval ended well and left no results below {out}. Is it another version?")
    results = json.loads(files[-1].read_text(encoding="utf-8"))
    found: dict[str, list[tuple[Sample, str]]] = {}
    for path in details:
        leaf = path.name.removeprefix("details_").rsplit("_", 1)[0].split("|")[0]
        for row in sorted(pq.read_table(path).to_pylist(), key=lambda r: int(r["doc"]["id"])):
            for metric, sample in _samples(row, leaf, job):
                found.setdefault(metric, []).append((sample, _digest(row["doc"], leaf)))
    scored = tuple(
        Scored(metric, tuple(s for s, _ in rows), tuple(d for _, d in rows)) for metric, rows in sorted(found.items())
    )
    return Outcome(scored, _measures(results["results"], job.task), installed_version("lighteval"))


def _samples(row: dict[str, Any], leaf: str, job: Job) -> Iterator[tuple[str, Sample]]:
    """(metric, Sample) for each of the row's metrics that is a number between 0 and 1."""
    doc, said = row["doc"], row["model_response"]
    choices = [str(c) for c in doc["choices"] or ()]
    golds = doc["gold_index"] if isinstance(doc["gold_index"], list) else [doc["gold_index"]]
    gold = choices[golds[0]].strip() if golds and choices else None
    scores = [float(x) for x in said["logprobs"] or ()]
    if said["text"]:
        response = str(said["text"][0])
        found = (doc["specific"] or {}).get("extracted_predictions")
        extracted = str(found[0]) if found else None if found is not None else response.strip() or None
    else:
        best = max(range(len(scores)), key=scores.__getitem__) if len(scores) == len(choices) and scores else None
        response = choices[best].strip() if best is not None else ""
        extracted = response or None
    for metric, value in row["metric"].items():
        if isinstance(value, int | float) and 0 <= value <= 1:
            yield (
                str(metric),
                Sample(
                    problem_id=f"{leaf}/{doc['id']}",
                    index=0,
                    question=str(doc["query"]),
                    response=response,
                    source=job.model.label,
                    gold=gold,
                    verdict=judged_by_suite(float(value), extracted),
                    reward=float(value),
                    extra={"loglikelihoods": scores} if scores else {},
                ),
            )


def _digest(doc: dict[str, Any], leaf: str) -> str:
    asked = [leaf, doc["id"], doc["query"], doc["instruction"], doc["choices"], doc["gold_index"]]
    return hashlib.sha256(json.dumps(asked).encode("utf-8", errors="surrogatepass")).hexdigest()


def _measures(results: dict[str, dict[str, Any]], task: str) -> dict[str, float]:
    """Every number of the task, or of the mean over its parts."""
    own = next((v for k, v in results.items() if k.split("|")[0] == task), results.get("all", {}))
    return {
        key: float(value)
        for key, value in own.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }
