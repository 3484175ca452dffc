"""A process that asks is killed at random moments: no journaled reply is asked again, and the bill knows the rest."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.conftest import ROOT
from tests.scripted_provider import Script, ScriptedProvider
from tests.unit.providers.asking import asked, question, records, teacher_at

from posttrain.providers import Journal, Prices, bill

COUNT, CONCURRENCY = 600, 64


def start(url: str, journal: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.unit.providers.asking", url, str(journal), str(COUNT), "60000"]
    path = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, text=True
    )


def test_kills_at_three_random_moments_repeat_only_what_was_in_flight(tmp_path: Path) -> None:
    journal, generator = tmp_path / "j.jsonl", random.Random(8)
    teacher = teacher_at("http://127.0.0.1:1/v1")
    text = {question(n).key(teacher): asked(question(n)) for n in range(COUNT)}
    safe: dict[str, int] = {}  # question → how often it had been asked when its reply was in the journal
    with ScriptedProvider(Script(latency=0.05, faults={"500": 0.03, "reset": 0.03})) as provider:
        ledger = provider.ledger
        for _ in range(3):
            before = len(ledger.arrivals)
            goal = before + generator.randint(40, 140)
            process = start(provider.url, journal)
            while len(ledger.arrivals) < goal:
                assert process.poll() is None
                time.sleep(0.002)
            process.send_signal(signal.SIGKILL)
            process.communicate()
            for record in records(journal, "reply"):
                safe.setdefault(text[record["key"]], ledger.asked[text[record["key"]]])
        process = start(provider.url, journal)
        out, _ = process.communicate(timeout=60)
        assert out.split() == [str(COUNT), str(COUNT)]
    assert len(safe) > 50
    assert {name: ledger.asked[name] for name in safe} == safe
    assert all(ledger.answered[asked(question(n))] >= 1 for n in range(COUNT))
    repeated = sum(ledger.answered.values()) - COUNT
    assert repeated <= 3 * CONCURRENCY
    assert len({record["key"] for record in records(journal, "reply")}) == COUNT
    assert len(records(journal, "reply")) == COUNT  # no key has two
    # Every request that the provider saw was journaled before it left, so the bill shows those that the kills cut off.
    assert len(records(journal, "intent")) >= sum(ledger.asked.values())
    with Journal(journal) as kept:
        paid = bill(kept, teacher.model_copy(update={"prices": Prices(input=1, output=1)}))
    assert paid.replies == COUNT
    assert repeated <= paid.doubtful <= 3 * CONCURRENCY + ledger.outcomes["reset"]
