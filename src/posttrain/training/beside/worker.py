"""The process beside: reads jobs from stdin, validates the weights they name, writes results to stdout.

    → {"step": 40, "folder": "/dev/shm/…/step-000040"}    ← {"step": 40, "scores": {…}, "samples": […]}
    → {"end": true}                                       ← {"step": 40, "failed": "why"}

One JSON object a line. It outlives no trainer: when stdin ends without a word, or its parent is another, the weights
that stand in memory go to the disk, where a resumed run or `posttrain validate` finds them.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import sys
import threading
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from posttrain.errors import PosttrainError
from posttrain.store.lock import locked
from posttrain.training.beside.weights import WEIGHTS, Shelf

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from posttrain.engines.base import Engine
    from posttrain.training.asked import Asked

PARENT_EVERY = 0.5  # seconds between looks at who the parent is


def main() -> None:
    """Arguments: home, memory ("-" for none), device, threads."""
    home, memory, device, threads = sys.argv[1:]
    shelf = Shelf(Path(home), None if memory == "-" else Path(memory))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the trainer, and the trainer tells us
    results = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints is no result
    if device == "cpu":
        os.nice(10)  # where there is no second core, training goes first
    jobs: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    parent = os.getppid()
    with locked(shelf.home):  # who comes next waits until we are gone
        for target in (_listen, _look):
            threading.Thread(target=target, args=(shelf, jobs, parent), daemon=True).start()
        serve(shelf, device, int(threads), jobs, results)


def _listen(shelf: Shelf, jobs: queue.SimpleQueue[dict[str, Any]], parent: int) -> None:
    """Jobs from stdin; its end without the word `end` is the trainer's."""
    for line in sys.stdin:
        job = json.loads(line)
        jobs.put(job)
        if "end" in job:
            return
    _orphaned(shelf)


def _look(shelf: Shelf, jobs: queue.SimpleQueue[dict[str, Any]], parent: int) -> None:
    """A process that the trainer forked may hold the other end of our stdin open: ask the system too."""
    while os.getppid() == parent:
        time.sleep(PARENT_EVERY)
    _orphaned(shelf)


def _orphaned(shelf: Shelf) -> None:
    if shelf.home.is_dir():
        shelf.keep()
    else:
        shelf.free()  # the stage's folder was removed
    os._exit(1)


def serve(shelf: Shelf, device: str, threads: int, jobs: queue.SimpleQueue[dict[str, Any]], results: IO[str]) -> None:
    """Jobs one after the other until the word `end`."""
    import torch

    from posttrain.training.asked import ask, read_asked

    torch.set_num_threads(threads)
    asked = read_asked(shelf.asked)
    open_model: tuple[PreTrainedModel, PreTrainedTokenizerBase] | None = None
    with contextlib.ExitStack() as closing:
        server: Engine | None = None
        while "end" not in (job := jobs.get()):
            step, folder = int(job["step"]), Path(job["folder"])
            began = time.perf_counter()
            try:
                open_model = load(folder, device, open_model)
                if asked.engine == "vllm" and server is None:
                    server = _server(folder, asked, shelf)
                    closing.callback(server.close)
                if server is not None:
                    server.load_weights(open_model[0], step)
                answer = ask(*open_model, asked, step, server).as_dict()
                answer["scores"]["seconds_validation"] = time.perf_counter() - began
            except PosttrainError as error:
                answer = {"step": step, "failed": str(error)}
            results.write(json.dumps(answer) + "\n")
            results.flush()


def _server(folder: Path, asked: Asked, shelf: Shelf) -> Engine:
    """A vLLM server on the first weights; later ones are loaded into it, each proven by its log-probabilities."""
    from posttrain.evals.engines import open_engine
    from posttrain.store import Checkpoint

    return open_engine(Checkpoint(folder), "vllm", vllm=asked.vllm, logs=shelf.home / "vllm")[0]


def load(
    folder: Path, device: str, again: tuple[PreTrainedModel, PreTrainedTokenizerBase] | None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Model and tokenizer of a snapshot; into the model that is open already, where there is one."""
    from safetensors.torch import load_file

    from posttrain.models import load_model, load_tokenizer

    if again is None:
        return load_model(folder, device=device), load_tokenizer(folder)
    # strict=False: of tensors that several names share, one name is in the file
    unknown = again[0].load_state_dict(load_file(folder / WEIGHTS, device=device), strict=False).unexpected_keys
    assert not unknown, f"{folder} holds {unknown}, which the first snapshot did not"
    return again


if __name__ == "__main__":
    main()
