"""The claims of the providers' client, in full: rate, faults, memory, processor time, kills, storms, two at once.

    python -m perf.providers                          about twelve minutes
    python -m perf.providers --quick                  the same with few requests: the code runs, its numbers mean little
    python -m perf.providers --only faults kills      some of it
    python -m perf.providers --json perf/results/providers.json

The provider is tests/scripted_provider in a process of its own; the client is a process of its own too, so that its
memory and processor time are those of asking and nothing else. Every case says `holds`.

- faults: 20,000 requests at 5,000/min, concurrency 512, a tenth of them faulty: each answered exactly once, at least
  95 % of the allowed rate, memory flat, less than 30 % of one core.
- kills: SIGKILL at ten random moments at 60,000/min: no journaled reply is asked again, at most what was in flight is
  repeated, and every request that the provider saw is an intent in the journal.
- storm, storm_retry_after: a storm of 429s, without and with Retry-After: no request during Retry-After, 90 % of the
  limit within 30 s of its end.
- two: two teachers at once, each beside the time it takes alone.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from tests.scripted_provider import Ledger
from tests.unit.providers.asking import FAULTS, asked, question, questions, records, teacher_at


@contextmanager
def scripted(script: dict[str, Any]) -> Iterator[str]:
    """The address of a scripted provider in a process of its own."""
    command = [sys.executable, "-m", "tests.scripted_provider", json.dumps(script)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


def ledger_of(url: str) -> Ledger:
    answer = httpx.get(url.removesuffix("/v1") + "/ledger", timeout=60, trust_env=False)
    return Ledger.from_json(answer.json())


def arrivals_of(url: str) -> int:
    return len(ledger_of(url).arrivals)


def start(url: str, journal: Path, count: int, per_minute: float, concurrency: int) -> subprocess.Popen[str]:
    given = json.dumps([url, str(journal), count, per_minute, concurrency])
    return subprocess.Popen(
        [sys.executable, "-m", "perf.providers", "--child", given], stdout=subprocess.PIPE, text=True
    )


def finish(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, _ = process.communicate()
    assert process.returncode == 0, f"exit {process.returncode}"
    found: dict[str, Any] = json.loads(out)
    return found


def child(url: str, journal: str, count: int, per_minute: float, concurrency: int) -> None:
    """Asks, and prints what it took of the machine."""
    from posttrain.providers import ask

    teacher = teacher_at(url, requests_per_minute=per_minute, concurrency=concurrency, timeout=60.0)
    page = os.sysconf("SC_PAGE_SIZE")
    memory: list[float] = []
    keys: set[str] = set()
    began, before, replies, good = time.monotonic(), time.process_time(), 0, 0
    for reply in ask(teacher, questions(count), Path(journal)):
        replies += 1
        good += reply.finish_reason == "stop"
        keys.add(reply.key)
        if replies % max(1, count // 40) == 0:
            resident = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
            memory.append(resident * page / 2**20)
    seconds = time.monotonic() - began
    found = {
        "replies": replies,
        "good": good,
        "distinct": len(keys),
        "seconds": seconds,
        "processor": (time.process_time() - before) / seconds,
        "memory_mb": memory,
        "peak_mb": max(memory),
    }
    json.dump(found, sys.stdout)


def faults(folder: Path, quick: bool) -> dict[str, Any]:
    count, per_minute = (600 if quick else 20_000), 5_000
    with scripted({"faults": FAULTS, "latency": 0.5, "slow": 5.0, "text_bytes": 2000}) as url:
        found = finish(start(url, folder / "faults.jsonl", count, per_minute, 512))
        ledger = ledger_of(url)
    arrivals = ledger.arrivals
    # The last retries trickle in one by one; the rate is that of the first 98 %.
    steady = arrivals[: int(0.98 * len(arrivals))]
    share = len(steady) / (steady[-1] - steady[0]) * 60 / per_minute
    memory = found["memory_mb"]
    middle = max(memory[len(memory) // 4 : len(memory) // 2] or memory)
    growth = max(memory[3 * len(memory) // 4 :]) - middle
    once = set(ledger.answered.values()) == {1} and len(ledger.answered) == count
    return {
        **found,
        "requests": len(arrivals),
        "outcomes": dict(ledger.outcomes),
        "share_of_allowed_rate": share,
        "busiest_minute": ledger.busiest(60.0),
        "memory_growth_mb": growth,
        "answered_exactly_once": once and found["good"] == found["distinct"] == count,
        "holds": once
        and found["good"] == found["distinct"] == count
        and share >= 0.95
        and ledger.busiest(60.0) <= per_minute
        and growth < 0.001 * count * 0.5 + 8  # half a kB per reply is the journal's index, which has to grow
        and found["processor"] < 0.30,
    }


def kills(folder: Path, quick: bool) -> dict[str, Any]:
    count, times, concurrency = (1500, 2, 512) if quick else (20_000, 10, 512)
    journal, generator = folder / "kills.jsonl", random.Random(8)
    teacher = teacher_at("http://127.0.0.1:1/v1")
    text = {question(n).key(teacher): asked(question(n)) for n in range(count)}
    safe: dict[str, int] = {}
    moments = []
    with scripted({"latency": 0.3, "faults": {"500": 0.03, "reset": 0.03}}) as url:
        for _ in range(times):
            before = arrivals_of(url)
            process = start(url, journal, count, 60_000, concurrency)
            while arrivals_of(url) == before:
                time.sleep(0.02)
            moments.append(generator.uniform(0.1, 0.6 * count / 1000 / times))
            time.sleep(moments[-1])
            assert process.poll() is None, "it finished before it was killed"
            process.send_signal(signal.SIGKILL)
            process.communicate()
            time.sleep(0.5)  # what was on its way reaches the provider
            seen = ledger_of(url)
            for record in records(journal, "reply"):
                safe.setdefault(text[record["key"]], seen.asked[text[record["key"]]])
        found = finish(start(url, journal, count, 60_000, concurrency))
        ledger = ledger_of(url)
    again = sum(ledger.asked[name] != asked_then for name, asked_then in safe.items())
    repeated = sum(ledger.answered.values()) - count
    intents = len(records(journal, "intent"))
    return {
        "count": count,
        "moments": moments,
        "journaled_before_the_last_run": len(safe),
        "journaled_and_asked_again": again,
        "answered_twice": repeated,
        "in_flight_at_most": times * concurrency,
        "requests": sum(ledger.asked.values()),
        "intents": intents,
        "replies": found["replies"],
        "last_run_per_minute": 60 * (count - len(safe)) / found["seconds"],
        "holds": again == 0
        and repeated <= times * concurrency
        and intents >= sum(ledger.asked.values())
        and found["good"] == found["distinct"] == count
        and set(ledger.answered) == set(text.values()),
    }


def storm(folder: Path, quick: bool, retry_after: float | None = None) -> dict[str, Any]:
    per_minute, length, after = 5_000, (3.0 if quick else 20.0), (200 if quick else 1000)
    count = 2_000 if quick else 6_000
    script = {"latency": 0.2, "storms": [{"after": after, "seconds": length, "retry_after": retry_after}]}
    with scripted(script) as url:
        found = finish(start(url, folder / f"storm{retry_after}.jsonl", count, per_minute, 512))
        ledger = ledger_of(url)
    ((_, ended),) = ledger.storms
    later = [when - ended for when in ledger.arrivals if when > ended]
    window = 3.0
    recovered = next(
        (at for at in later if sum(at <= t < at + window for t in later) >= 0.9 * window * per_minute / 60), None
    )
    return {
        "retry_after": retry_after,
        "refused": ledger.outcomes["storm 429"],
        "during_retry_after": ledger.early,
        "recovered_after_seconds": recovered,
        "replies": found["replies"],
        "holds": ledger.early == 0 and found["good"] == count and recovered is not None and recovered <= 30,
    }


def two(folder: Path, quick: bool) -> dict[str, Any]:
    count = 300 if quick else 2_500
    script = {"latency": 0.2, "faults": {"500": 0.02}}
    with scripted(script) as one, scripted(script) as other:
        alone = finish(start(one, folder / "alone.jsonl", count, 5_000, 128))["seconds"]
        began = time.monotonic()
        command = json.dumps([[one, str(folder / "a.jsonl")], [other, str(folder / "b.jsonl")], count])
        out = subprocess.run(
            [sys.executable, "-m", "perf.providers", "--pair", command], stdout=subprocess.PIPE, text=True, check=True
        )
        both = time.monotonic() - began
    together = json.loads(out.stdout)
    slower = max(together) / alone
    return {"alone": alone, "together": together, "both": both, "slower": slower, "holds": slower <= 1.05}


def pair(one: list[str], other: list[str], count: int) -> None:
    """Two teachers in one process, each in a thread, as the traces stage asks them."""
    import threading

    from posttrain.providers import ask

    seconds = [0.0, 0.0]

    def work(index: int, url: str, journal: str) -> None:
        began = time.monotonic()
        teacher = teacher_at(url, requests_per_minute=5_000, concurrency=128)
        assert len(list(ask(teacher, questions(count), Path(journal)))) == count
        seconds[index] = time.monotonic() - began

    threads = [threading.Thread(target=work, args=(i, *given)) for i, given in enumerate((one, other))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    json.dump(seconds, sys.stdout)


CASES: dict[str, Callable[[Path, bool], dict[str, Any]]] = {
    "faults": faults,
    "kills": kills,
    "storm": storm,
    "storm_retry_after": lambda folder, quick: storm(folder, quick, retry_after=2.0),
    "two": two,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m perf.providers", description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--pair", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(*json.loads(given.child))
        return
    if given.pair:
        pair(*json.loads(given.pair))
        return
    from perf.harness import machine

    found: dict[str, Any] = {"title": "Asking model APIs", "machine": machine(), "quick": given.quick, "cases": {}}
    with tempfile.TemporaryDirectory() as folder:
        for name in given.only:
            found["cases"][name] = case = CASES[name](Path(folder), given.quick)
            short = {k: v for k, v in case.items() if not isinstance(v, list | dict)}
            print(f"{name}: {json.dumps(short)}", flush=True)
            if given.json:
                given.json.parent.mkdir(parents=True, exist_ok=True)
                given.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    if not all(case["holds"] for case in found["cases"].values()):
        sys.exit("a claim does not hold")


if __name__ == "__main__":
    main()
