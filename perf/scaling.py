"""What one process can bear: the figures from which docs/scaling.md reckons how many GPUs it can feed.

Seconds, bytes and rates of the parts of which there is only one: the store's writer, the executor, the journal, the
table of samples, the client of a sampling server, the hand-over of weights. No peer. Best of `repeats`, as a ceiling is
asked for. ``python -m perf.scaling --json FILE --page docs/scaling.md``
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from perf.harness import Results, machine
from posttrain.config import Config
from posttrain.records import Sample, Verdict, samples_from_tables, samples_to_tables
from posttrain.stage import Workspace
from posttrain.store import Problems

TOKENS = 256  # of an answer
MESSAGES = TOKENS // 16  # the client asks for 16 tokens in a message
MEGABYTE = 1_000_000


class LeafConfig(Config):
    """Of a stage that costs nothing but its artifact."""

    number: int = 0


def leaf(config: LeafConfig, work: Workspace) -> Problems:
    """One small file."""
    work.write_json("leaf.json", {"number": config.number})
    return Problems(work.dir)


def best(repeats: int, run: Callable[[], object]) -> float:
    """Seconds of the fastest of `repeats`."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def stages(folder: Path, count: int) -> dict[str, float]:
    """A stage made, one reused, a manifest read: seconds of each."""
    from posttrain.pipeline import run_stage
    from posttrain.store import Manifest

    def run() -> None:
        for i in range(count):
            run_stage("perf.scaling:leaf", {"number": i}, {}, folder / str(i), quiet=True)

    made, reused = best(1, run), best(2, run)
    read = best(2, lambda: [Manifest.read(folder / str(i)) for i in range(count)])
    return {"stage_made": made / count, "stage_reused": reused / count, "manifest_read": read / count}


def graph(folder: Path, counts: tuple[int, ...]) -> dict[str, float]:
    """Seconds per stage to build and to plan a recipe with so many branches, by their number."""
    from posttrain.pipeline import build_graph, parse_recipe, plan_graph

    found = {}
    for count in counts:
        body = {"name": "wide", "matrix": {"n": list(range(count))}}
        body["stages"] = {"leaf": {"stage": "perf.scaling:leaf", "number": "{n}"}}

        def run(body: dict[str, Any] = body) -> None:
            plan_graph(build_graph(parse_recipe(body, "scaling")), folder / "none")

        found[f"planned_of_{count}"] = best(2, run) / count
    return found


def process() -> dict[str, float]:
    """Processor seconds, of one core, to start the process of a stage, before it does anything."""
    before = os.times()
    for _ in range(3):
        subprocess.run([sys.executable, "-c", "import posttrain.pipeline.worker"], check=True)
    after = os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return {"stage_process": spent / 3}


def journals(folder: Path, count: int) -> dict[str, float]:
    """Replies per second of the durable journal, one and 32 to a write, and of evaluations' journal of samples."""
    from posttrain.evals.journal import Journal as Kept
    from posttrain.providers.journal import Journal

    line = json.dumps({"record": "reply", "body": "x" * 2000}).encode() + b"\n"
    found = {}
    with Journal(folder / "replies.jsonl") as journal:
        for group in (1, 32):
            writes = max(8, count // 20)

            def run(group: int = group, writes: int = writes) -> None:
                for _ in range(writes):
                    journal.append([line] * group, sync=True)

            found[f"durable_replies_{group}"] = writes * group / best(2, run)
    made = samples(count)
    with Kept(folder / "samples.jsonl", "key") as kept:
        start = time.perf_counter()
        for sample in made:
            kept.add(sample)
        found["journaled_samples"] = count / (time.perf_counter() - start)
    found["journal_bytes_per_sample"] = (folder / "samples.jsonl").stat().st_size / count
    return found


def samples(count: int) -> list[Sample]:
    """Answers of TOKENS tokens whose text and ids follow a language's frequencies; log-probabilities don't compress."""
    draw = random.Random(0)
    words = ["".join(draw.choices("etaoinshrdlu", k=draw.randint(2, 8))) for _ in range(5000)]
    weights = [1 / (i + 1) for i in range(5000)]
    found = []
    for i in range(count):
        ids = draw.choices(range(5000), weights, k=TOKENS)
        found.append(
            Sample(
                problem_id=f"gsm8k/train/{i}",
                index=0,
                question=" ".join(words[j] for j in ids[:40]),
                response=" ".join(words[j] for j in ids),
                source="student",
                gold="42",
                token_ids=tuple(ids),
                logprobs=tuple(-draw.expovariate(2.0) for _ in ids),
                prompt_ids=tuple(ids[:60]),
                finish_reason="stop",
                verdict=Verdict(True, True, "42", "correct"),
                split="train",
            )
        )
    return found


def tables(folder: Path, count: int, repeats: int) -> dict[str, float]:
    """Bytes of an answer in Parquet, and answers per second into it and out of it."""
    import pyarrow.parquet as pq

    from posttrain.store import write_table

    made = samples(count)
    files = (folder / "samples.parquet", folder / "verdicts.parquet")

    def write() -> None:
        for path, table in zip(files, samples_to_tables(made), strict=True):
            write_table(path, table)

    def read() -> None:
        list(samples_from_tables(*(pq.read_table(path) for path in files)))

    written, back = best(repeats, write), best(repeats, read)
    return {
        "bytes_per_sample": sum(path.stat().st_size for path in files) / count,
        "samples_written": count / written,
        "samples_read": count / back,
    }


def weights(folder: Path, megabytes: int, repeats: int) -> dict[str, float]:
    """Bytes per second to hash a file, to write one durably, and to copy one within memory."""
    from posttrain.store import sha256_file, write_atomic

    data = os.urandom(MEGABYTE) * megabytes
    path = folder / "weights.bin"

    def write() -> None:
        with write_atomic(path) as file:
            file.write(data)

    durable = best(repeats, write)
    found = {"disk_bytes": len(data) / durable, "hashed_bytes": len(data) / best(repeats, lambda: sha256_file(path))}
    memory = Path("/dev/shm")
    if os.access(memory, os.W_OK):
        with tempfile.TemporaryDirectory(dir=memory) as shared:
            target = Path(shared) / "weights.bin"
            found["memory_bytes"] = len(data) / best(repeats, lambda: target.write_bytes(data))
    return found


SERVER = """
import asyncio, sys
body = open(sys.argv[1], "rb").read()
async def answer(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\\r\\n\\r\\n")
            size = [int(l.split(b":")[1]) for l in head.lower().split(b"\\r\\n") if l.startswith(b"content-length")]
            await reader.readexactly(size[0])
            writer.write(body)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()
async def main():
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


def client(folder: Path, count: int) -> dict[str, float]:
    """Tokens per processor second of the client of a sampling server, which streams answers to 64 requests at once."""
    from posttrain.engines.base import Prompt
    from posttrain.engines.vllm.client import Client, Job

    (folder / "answer").write_bytes(_stream())
    server = subprocess.Popen([sys.executable, "-c", SERVER, str(folder / "answer")], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        url = f"http://127.0.0.1:{int(server.stdout.readline())}"

        async def ask() -> float:
            asked, room = Client(url, 60.0), asyncio.Semaphore(64)
            body = {"model": "m", "prompt": list(range(100)), "max_tokens": TOKENS}
            jobs = [Job(Prompt(str(i), tuple(range(100)), i), 0) for i in range(count)]

            async def one(job: Job) -> None:
                async with room:
                    await asked.sample(job, body, None, None)

            await one(jobs[0])  # the first pays for imports and the connection
            start = time.process_time()
            await asyncio.gather(*map(one, jobs[1:]))
            spent = time.process_time() - start
            await asked.close()
            return (count - 1) * TOKENS / spent

        return {"client_tokens": asyncio.run(ask())}
    finally:
        server.terminate()
        server.wait()


def _stream() -> bytes:
    """A whole HTTP answer of TOKENS tokens as vLLM streams it."""
    pieces = []
    for i in range(MESSAGES):
        ids = list(range(1000 + i, 1016 + i))
        told = {"token_logprobs": [-0.123456789] * 16, "tokens": [f"token_id:{t}" for t in ids]}
        told |= {"top_logprobs": [{t: -0.123456789} for t in told["tokens"]], "text_offset": ids}
        last = "stop" if i == MESSAGES - 1 else None
        choice = {"index": 0, "text": " word" * 16, "logprobs": told, "finish_reason": last, "token_ids": ids}
        message = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "m", "choices": [choice]}
        pieces.append(b"data: " + json.dumps(message).encode() + b"\n\n")
    pieces.append(b"data: [DONE]\n\n")
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + chunks + b"0\r\n\r\n"


def measure(quick: bool) -> dict[str, float]:
    """Every figure, by name."""
    repeats, count = (1, 200) if quick else (3, 2000)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        return {
            **stages(folder / "stages", 20 if quick else 100),
            **graph(folder, (100, 1000)),
            **process(),
            **journals(folder, count),
            **tables(folder, count, repeats),
            **weights(folder, 32 if quick else 256, repeats),
            **client(folder, 200 if quick else 1000),
        }


def main() -> None:
    """Measures, writes the JSON, and the tables of the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer items, one repeat")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--page", type=Path, help="write the tables of this page anew")
    parser.add_argument("--from", dest="given", type=Path, help="measure nothing: take the figures of this JSON")
    told = parser.parse_args()
    if told.given:
        facts = json.loads(told.given.read_text(encoding="utf-8"))["facts"]
    else:
        results = Results("scaling", machine())
        facts = results.facts = {key: float(f"{value:.4g}") for key, value in measure(told.quick).items()}
        if told.json:
            results.write(told.json)
    sys.stdout.write("\n".join(f"{key:<28}{value:>14.6g}" for key, value in facts.items()) + "\n")
    if told.page:
        from perf.scaling_page import page

        told.page.write_text(page(told.page.read_text(encoding="utf-8"), facts), encoding="utf-8")


if __name__ == "__main__":
    main()
