"""The trainer's side of validation beside training.

After a step that is due, the weights are copied to memory and a job is sent; results are taken in as they come, before
the next step goes on. Nothing waits but the end of the stage, which waits for all. Weights are only ever read and no
random number is drawn, so training is the same to the bit with and without.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import torch

from posttrain.errors import LockedError, TrainingError
from posttrain.store.lock import locked
from posttrain.training.asked import Answered, Asked
from posttrain.training.beside.process import GONE, Process
from posttrain.training.beside.weights import open_shelf, weights_of, write_skeleton
from posttrain.training.config import ValidationConfig
from posttrain.training.distributed import Ranks
from posttrain.training.validation import SampleLog, due

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from posttrain.stage import Workspace

PATIENCE = 3600.0  # seconds that the end waits for one result before it counts the process as lost
EARLIER = 60.0  # seconds for the process of an attempt that was killed to bring its weights to the disk


class Beside:
    """A `Watch` that answers nothing itself: its scores are logged when they come. A context manager."""

    def __init__(
        self,
        config: ValidationConfig,
        asked: Asked,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        log: SampleLog,
        work: Workspace,
        ranks: Ranks,
    ) -> None:
        self.config, self.asked, self.model, self.tokenizer = config, asked, model, tokenizer
        self.log, self.work, self.ranks = log, work, ranks
        self.device = pick(config.device, model.device)
        self.shelf = open_shelf(work.dir)
        self.process: Process | None = None  # None: not begun, or lost
        self.waiting: list[int] = []  # steps of jobs without a result
        self.notes: list[str] = []
        self._begun = False

    def __enter__(self) -> Beside:
        _wait_for_earlier(self.shelf.home)
        self.asked.write(self.shelf.asked)
        write_skeleton(self.shelf.skeleton, self.model, self.tokenizer)
        self.process = Process(self.shelf, self.device, _threads(self.device, self.model.device))
        return self

    def maybe(self, step: int, steps: int) -> dict[str, float]:
        if not self._begun:
            self._begin(step - 1)
        self._take()
        if due(step, steps, self.config.every):
            self._offer(step)
        return {}

    def _begin(self, done: int) -> None:
        """Takes up what an earlier attempt left unanswered up to step `done`; what lies past it will come again."""
        self._begun = True
        self.log.rewind(done)
        answered = {row["step"] for row in self.log.metrics.read() if "val_n" in row}
        for step, folder in self.shelf.found().items():
            if step > done or step in answered:
                shutil.rmtree(folder)
            else:
                self._send(step, str(folder))
        lost = set(range(0, done + 1, self.config.every)) - answered - set(self.waiting)
        if lost:
            self._note(f"validation of {_steps(sorted(lost))} is lost: the weights were in memory that is gone")

    def _offer(self, step: int) -> None:
        tensors = weights_of(self.model, self.ranks.weights(self.model))
        folder = self.shelf.put(tensors, step, pending=self.config.pending)
        if folder is None:
            self._note(
                f"validation of {_steps([step])} is left out: neither memory nor disk has room for the weights. "
                "Raise validation.every, or free some space"
            )
        elif self.process is not None:
            self._send(step, str(folder))

    def _send(self, step: int, folder: str) -> None:
        assert self.process is not None
        self.waiting.append(step)
        self.process.send({"step": step, "folder": folder})

    def _take(self, wait: float = 0.0) -> None:
        """Logs the results that are there; waits up to `wait` seconds for the first."""
        while self.process is not None and (told := self.process.result(wait)) is not None:
            wait = 0.0
            if told is GONE:
                self._lost(self.process.epitaph())
            elif "failed" in told:
                self.waiting.remove(told["step"])
                self._note(f"validation of {_steps([told['step']])} failed: {told['failed']}")
            else:
                self._log(Answered(**told))

    def _log(self, found: Answered) -> None:
        self.log.add(found)
        self.work.metrics.log(found.step, **found.scores)
        self.waiting.remove(found.step)
        shutil.rmtree(self.shelf.found()[found.step])

    def _lost(self, how: str) -> None:
        """The process is gone: training goes on, and what it had not answered is kept on the disk."""
        self.process = None
        kept = self.shelf.keep()
        self.shelf = dataclasses.replace(self.shelf, memory=None)
        self._note(f"the process that validates beside training is gone ({how}). Training goes on")
        if gone := [step for step in self.waiting if step not in kept]:
            self._note(f"validation of {_steps(gone)} is lost: the disk has no room for the weights")
        self.waiting = []

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.settle()
        elif self.process is not None:
            self._take()
            if self.process is not None:
                self.process.kill()
                self.process = None
        self.shelf.keep()
        self.log.metrics.sort()
        self.log.rows.sort()
        missed = list(self.shelf.found())
        if not missed:
            shutil.rmtree(self.shelf.home)
        elif error is None:
            self.work.summarise(validation_missed=len(missed))
            self._note(
                f"validation of {_steps(missed)} was missed: `posttrain validate {self.work.dir}` makes up for it"
            )
        if self.notes:
            self.work.summarise(notes=[*self.work.summary.get("notes", []), *self.notes])

    def settle(self) -> None:
        """Waits for every result that is on its way. To be called again costs nothing."""
        if self.waiting:
            self.work.note(f"validation of {_steps(self.waiting)} is still on its way")
        while self.waiting and self.process is not None:
            before = len(self.waiting)
            self._take(PATIENCE)
            if self.process is not None and len(self.waiting) == before:
                self.process.kill()
                self._lost(f"no result within {PATIENCE:.0f} s")
        if self.process is not None:
            self.process.end()
            self.process = None

    def _note(self, message: str) -> None:
        """For the person who watches, and for the report."""
        self.work.note(f"{message}.")
        self.notes.append(f"{message}.")


def pick(wanted: str, training: torch.device) -> str:
    """The device of the process beside. TrainingError for a GPU that is not there.

    auto: the GPU after the trainer's where there are several, else the CPU.
    """
    there = torch.cuda.device_count()
    if wanted == "auto":
        return f"cuda:{((training.index or 0) + 1) % there}" if training.type == "cuda" and there > 1 else "cpu"
    if wanted.startswith("cuda") and int(wanted.partition(":")[2] or 0) >= there:
        raise TrainingError(
            f"validation.device is {wanted}, and this process sees {there} GPUs. Use cpu, or one of those that "
            "`posttrain doctor` lists (with several, say devices: [cuda:0] so that the run keeps to one)."
        )
    return wanted


def _threads(device: str, training: torch.device) -> int:
    """Threads for the process beside: the cores that training leaves, at least one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    used = 1 if training.type == "cuda" else torch.get_num_threads()
    return max(1, cores - used) if device == "cpu" else 1


def _wait_for_earlier(home: Path) -> None:
    """Until the process of an earlier attempt is gone. TrainingError where it stays."""
    until = time.monotonic() + EARLIER
    while True:
        try:
            with locked(home):
                return
        except LockedError as error:
            if time.monotonic() > until:
                raise TrainingError(f"an earlier attempt's validation still runs: {error}") from error
            time.sleep(0.1)


def _steps(steps: list[int]) -> str:
    return f"step{'s' if len(steps) > 1 else ''} {', '.join(map(str, steps))}"
