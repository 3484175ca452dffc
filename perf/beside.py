"""What validation beside training costs the trainer: the same SFT with and without it, by turns, in one run.

    OMP_NUM_THREADS=1 python -m perf.beside                    # two cores: about six minutes
    OMP_NUM_THREADS=1 python -m perf.beside --quick            # a minute, for a first look
    python -m perf.beside --training cuda:0 --device cuda:1    # a GPU each

Cases: `none` (no validation), `beside` (a process of its own) and `inside` (the trainer's process, which stops for it).
The time of a case is that of its training loop: from before the first step to after the last, without loading, without
the wait at the end for results that are still on their way (said apart, as `end`). The claim is beside_costs < 3 %: of
the loop's time by the clock, and of the trainer's own processor time, which a busy machine can't blur.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perf.harness import Results, Row, machine

CASES = ("none", "beside", "inside")
SHAPE = {"hidden": 256, "layers": 6, "heads": 8, "vocabulary": 2048, "context": 512}


@dataclass(slots=True)
class Clock:
    """Both clocks at the loop's ends, and when the stage was done."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    done: float = 0.0

    def mark(self) -> None:
        self.wall.append(time.perf_counter())
        self.cpu.append(time.process_time())


@contextmanager
def watched(clock: Clock) -> Iterator[None]:
    """Marks the ends of the training loop: its progress bar opens before the first step and closes after the last."""
    from posttrain.tracking import Progress

    enter, leave = Progress.__enter__, Progress.__exit__

    def entered(self: Progress) -> Progress:
        clock.mark()
        return enter(self)

    def left(self: Progress, *arguments: Any) -> None:
        clock.mark()
        leave(self, *arguments)

    Progress.__enter__, Progress.__exit__ = entered, left  # type: ignore[method-assign]
    try:
        yield
    finally:
        Progress.__enter__, Progress.__exit__ = enter, leave  # type: ignore[method-assign]


def prepared(folder: Path, shape: dict[str, int], rows: int) -> dict[str, Any]:
    """Problems, traces and a model of the shape, all from scratch."""
    from posttrain.pipeline import run_stage

    amounts = {"train": rows, "validation": 64, "test": 1}
    problems = run_stage("data", {"dataset": "synthetic", **amounts}, {}, folder / "problems", quiet=True)
    traces = run_stage("traces", {}, {"problems": problems}, folder / "traces", quiet=True)
    config = {"model": shape, "steps": 1, "block": 64, "batch_size": 2}
    model = run_stage("pretrain", config, {"corpus": problems}, folder / "model", quiet=True, device="cpu")
    return {"problems": problems, "traces": traces, "model": model}


def trained(inputs: dict[str, Any], folder: Path, case: str, arguments: argparse.Namespace) -> Clock:
    """One training; the clock's first and second mark are its loop's."""
    from posttrain.pipeline import run_stage

    config: dict[str, Any] = {"steps": arguments.steps, "batch_size": arguments.batch, "save_every": 1_000_000}
    if case != "none":
        config["validation"] = {
            "every": arguments.every,
            "problems": arguments.problems,
            "max_tokens": arguments.tokens,
            "beside": case == "beside",
            "device": arguments.device,
        }
    clock = Clock()
    with watched(clock):
        made = run_stage("sft", config, inputs, folder, quiet=True, device=arguments.training)
    clock.done = time.perf_counter()
    if case != "none":
        answered = [json.loads(line) for line in (made.path / "metrics.jsonl").read_text().splitlines()]
        due = 1 + -(-arguments.steps // arguments.every)
        found = sum("val_n" in row for row in answered)
        assert found == due, f"{case}: {found} of {due} validations are in"
    return clock


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer steps, two rounds")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--every", type=int, default=20, help="steps between validations")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--problems", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=64, help="of an answer")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--training", default="cpu", help="the trainer's device")
    parser.add_argument("--device", default="cpu", help="the device of the process beside")
    parser.add_argument("--hidden", type=int, default=SHAPE["hidden"])
    parser.add_argument("--layers", type=int, default=SHAPE["layers"])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.steps, arguments.every, arguments.repeats = 24, 12, 2
    results = Results("Validation beside training", machine())
    seconds: dict[str, list[float]] = {case: [] for case in CASES}
    cpu: dict[str, list[float]] = {case: [] for case in CASES}
    ends: list[float] = []
    with tempfile.TemporaryDirectory(prefix="perf-beside-") as name:
        folder = Path(name)
        shape = {**SHAPE, "hidden": arguments.hidden, "layers": arguments.layers}
        inputs = prepared(folder, shape, max(200, arguments.batch * 4))
        for turn in range(-1, arguments.repeats):  # the first one warms up
            for case in CASES:
                clock = trained(inputs, folder / f"{case}{turn}", case, arguments)
                if turn >= 0:
                    seconds[case].append(clock.wall[1] - clock.wall[0])
                    cpu[case].append(clock.cpu[1] - clock.cpu[0])
                    if case == "beside":
                        ends.append(clock.done - clock.wall[1])
    for case in CASES:
        results.rows.append(Row("training loop", case, arguments.steps, "steps", seconds[case]))
        results.rows.append(Row("trainer's processor", case, arguments.steps, "steps", cpu[case]))
    for name, times in (("clock", seconds), ("processor", cpu)):
        for case in CASES[1:]:
            rounds = [b / a - 1 for a, b in zip(times["none"], times[case], strict=True)]
            results.ratios[f"{case}_costs_{name}"] = statistics.median(rounds)
            results.spread[f"{case}_costs_{name}"] = (min(rounds), max(rounds))
    show(results, ends)
    if arguments.json:
        results.write(arguments.json)


def show(results: Results, ends: list[float]) -> None:
    """The costs in percent, and how long the end waited."""
    m = results.machine
    print(f"{results.title} · {m['cpu']}, {m['threads']} threads, load {m['load_average']} · {m['date']}\n")
    for row in results.rows:
        print(f"{row.name:<22}{row.case:<10}{statistics.median(row.seconds):>9.2f} s   {row.rate:>7.2f} steps/s")
    print()
    for name, value in results.ratios.items():
        low, high = results.spread[name]
        print(f"{name:<28}{100 * value:>7.2f} %   ({100 * low:.2f} to {100 * high:.2f})")
    print(f"\nwaited at the end, beside: {statistics.median(ends):.2f} s")


if __name__ == "__main__":
    main()
