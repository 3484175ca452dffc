"""datatrove's MinHash deduplication of an artifact's rows, in its own environment: prints one line of JSON.

``.venv-perf/bin/python -m perf.curation_peer FOLDER``. The four stages of its own example
(examples/minhash_deduplication.py), on one core; bands that find a pair at similarity 0.7 as often as ours do.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from pathlib import Path


def main() -> None:
    import pyarrow.parquet as pq
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import (
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.writers import JsonlWriter

    table = pq.read_table(Path(sys.argv[1]) / "samples.parquet", columns=["problem_id", "question", "response"])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "rows").mkdir()
        with (folder / "rows" / "rows.jsonl").open("w", encoding="utf-8") as file:
            for row in table.to_pylist():
                file.write(
                    json.dumps({"id": row["problem_id"], "text": f"{row['question']}\n{row['response']}"}) + "\n"
                )
        config = MinhashConfig(n_grams=3, num_buckets=18, hashes_per_bucket=7)
        reader = JsonlReader(str(folder / "rows"))
        steps = [
            [reader, MinhashDedupSignature(output_folder=str(folder / "signatures"), config=config)],
            [MinhashDedupBuckets(str(folder / "signatures"), str(folder / "buckets"), config=config)],
            [MinhashDedupCluster(str(folder / "buckets"), str(folder / "remove"), config=config)],
            [reader, MinhashDedupFilter(str(folder / "remove")), JsonlWriter(str(folder / "kept"), compression=None)],
        ]
        started = time.perf_counter()
        for number, (pipeline, tasks) in enumerate(zip(steps, (1, config.num_buckets, 1, 1), strict=True)):
            logs = str(folder / "logs" / str(number))
            LocalPipelineExecutor(pipeline, tasks=tasks, workers=1, logging_dir=logs).run()
        seconds = time.perf_counter() - started
        left = sum(path.read_bytes().count(b"\n") for path in (folder / "kept").glob("*.jsonl"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"rows": len(table), "seconds": seconds, "left": left, "peak_bytes": peak}))


if __name__ == "__main__":
    main()
