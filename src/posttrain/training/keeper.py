"""What is kept of a training: checkpoints on the way, the last or the best model, the merge, the push.

Whether to stop and which one is best are functions of the metrics' rows, so a resumed run decides as an uninterrupted
one, and scores that came from a process beside training count as any others.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from posttrain.errors import TrainingError
from posttrain.models.base import is_adapter, read_base, write_base
from posttrain.training.config import EarlyStoppingConfig, TrainingConfig
from posttrain.training.distributed import Ranks
from posttrain.training.merging import merge_adapter
from posttrain.training.pushing import Pusher
from posttrain.training.tokenise import save_checkpoint

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from posttrain.stage import Workspace

MARK = "step-"


def lower_is_better(metric: str) -> bool:
    """By name: losses and negative log-likelihoods."""
    return "loss" in metric or "nll" in metric or "perplexity" in metric


def best_step(rows: Sequence[Mapping[str, Any]], config: EarlyStoppingConfig) -> tuple[int | None, int]:
    """(the step with the best score so far, scores since then). (None, 0) without scores.

    A later score must be better by more than min_delta to be a new best.
    """
    sign = -1.0 if lower_is_better(config.metric) else 1.0
    best, value, since = None, -math.inf, 0
    for row in rows:
        if row.get(config.metric) is None:
            continue
        score = sign * float(row[config.metric])
        if score > value + (config.min_delta if best is not None else 0.0):
            best, value, since = int(row["step"]), score, 0
        else:
            since += 1
    return best, since


@dataclass(slots=True)
class Keeper:
    """Rank 0 writes; all ranks call, for weights may have to be gathered."""

    config: TrainingConfig
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    work: Workspace
    ranks: Ranks = field(default_factory=Ranks)
    pusher: Pusher | None = None

    @classmethod
    def make(
        cls,
        config: TrainingConfig,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        work: Workspace,
        ranks: Ranks | None = None,
    ) -> Keeper:
        """Opens the push, where one is asked for and this is rank 0."""
        ranks = ranks or Ranks()
        pusher = Pusher.open(config.push, work) if config.push is not None and ranks.first else None
        return cls(config, model, tokenizer, work, ranks, pusher)

    def step(self, done: int, steps: int) -> None:
        """After optimizer step `done` of `steps`: a checkpoint where one is due, and old ones go."""
        every = self.config.checkpoints.every
        if not every or done % every or done >= steps:
            return
        folder = self._folder(done)
        self._save(folder, done)
        if self.ranks.first:
            push = self.config.push
            if self.pusher is not None and push is not None and push.every and done % push.every == 0:
                self.pusher.add(folder, f"{MARK}{done:06d}")
            self._retire()

    def stopped(self, done: int) -> bool:
        """Whether the selection split has been without a new best for `patience` scores."""
        patience = self.config.early_stopping.patience
        if not patience:
            return False
        best, since = best_step(self.work.metrics.read(), self.config.early_stopping) if self.ranks.first else (None, 0)
        stop = self.ranks.agree(since >= patience)
        if stop and self.ranks.first:
            self.work.note(f"stopped at step {done}: no better {self.config.early_stopping.metric} since step {best}")
            self.work.summarise(stopped_at=done)
        return stop

    def finish(self, done: int, probe: Sequence[Sequence[int]] = ()) -> None:
        """Writes `model/` after the last step: the last weights, or the best ones; merges and pushes as asked.

        probe: token ids on which the merge is compared with the adapted model.
        """
        target = self.work.dir / "model"
        best = self._best(done)
        if best is None or best == done:
            self._save(target, done)
        else:
            self._save(self._folder(done), done)
            if self.ranks.first:
                copy_model(self._folder(best), target)
                self.work.note(f"model/ is step {best}, the best by {self.config.early_stopping.metric}")
        if self.ranks.first:
            if best is not None:
                self.work.summarise(best_step=best)
            if self.config.lora is not None and self.config.lora.merge:
                merge_adapter(self.model if best in (None, done) else None, self.tokenizer, self.work, probe)
            if self.pusher is not None:
                self.pusher.add(target, f"{MARK}{best or done:06d}", main=True)
                self.pusher.finish()
        self.ranks.wait()

    def _best(self, done: int) -> int | None:
        if not self.config.checkpoints.best:
            return None
        chosen = -1
        if self.ranks.first:
            kept = {*self._kept(), done}
            rows = self.work.metrics.read()
            step, _ = best_step([r for r in rows if r["step"] in kept], self.config.early_stopping)
            if step is None:
                raise TrainingError(
                    f"checkpoints.best needs {self.config.early_stopping.metric!r}, and no checkpoint has it. Set "
                    "validation.every to checkpoints.every (and problems), or name another early_stopping.metric."
                )
            chosen = step
        return int(self.ranks.total([float(chosen) if self.ranks.first else 0.0])[0])

    def _save(self, folder: Path, done: int) -> None:
        state = self.ranks.weights(self.model)
        if self.ranks.first:
            save_checkpoint(self.model, self.tokenizer, folder, step=done, state=state)
        self.ranks.wait()

    def _folder(self, step: int) -> Path:
        return self.work.dir / "checkpoints" / f"{MARK}{step:06d}"

    def _kept(self) -> list[int]:
        return sorted(int(p.name.removeprefix(MARK)) for p in (self.work.dir / "checkpoints").glob(f"{MARK}*"))

    def _retire(self) -> None:
        keep = self.config.checkpoints.keep
        if not keep:
            return
        kept = self._kept()
        best = None
        if self.config.checkpoints.best:
            rows = [r for r in self.work.metrics.read() if r["step"] in kept]
            best = best_step(rows, self.config.early_stopping)[0]
        for step in kept[:-keep]:
            if step != best and not (self.pusher is not None and self.pusher.waits_for(self._folder(step))):
                shutil.rmtree(self._folder(step))


def copy_model(source: Path, target: Path) -> None:
    """A model folder once more, whole or not at all."""
    temporary = target.with_name(f".{target.name}.copy.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    shutil.copytree(source, temporary)
    if is_adapter(source):
        write_base(temporary, read_base(source), target)
    shutil.rmtree(target, ignore_errors=True)
    temporary.rename(target)
