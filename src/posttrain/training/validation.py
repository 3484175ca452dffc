"""Generated evaluation beside training, in the trainer's process on the trainer's own weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from posttrain.engines.base import Sampling
from posttrain.engines.native import NativeEngine
from posttrain.evals import answer
from posttrain.records import Problem
from posttrain.training.config import ValidationConfig

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from posttrain.prompts import Template
    from posttrain.store import Problems


@dataclass(slots=True)
class Validator:
    """Greedy answers on the first `problems` of the validation split; never the test split."""

    config: ValidationConfig
    problems: Sequence[Problem]
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    template: Template
    grading: str

    @classmethod
    def make(
        cls,
        config: ValidationConfig,
        problems: Problems,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        template: Template,
        grading: str | None = None,
    ) -> Validator:
        """grading: a spec in place of the template's."""
        chosen = problems.read("validation")[: config.problems]
        return cls(config, chosen, model, tokenizer, template, grading or template.grading)

    def maybe(self, step: int, steps: int) -> dict[str, float]:
        """Scores after every `every` steps, before the first and after the last; an empty dict otherwise."""
        if step % self.config.every and step != steps:
            return {}
        return self.run()

    def run(self) -> dict[str, float]:
        self.model.eval()
        engine = NativeEngine(self.model, pad_id=int(self.tokenizer.pad_token_id), tokenizer=self.tokenizer)
        sampling = Sampling(temperature=0.0, max_tokens=self.config.max_tokens)
        samples = answer(
            engine,
            self.tokenizer,
            self.problems,
            self.template,
            sampling,
            self.grading,
            seed=0,
            source="validation",
        )
        verdicts = [s.verdict for s in samples if s.verdict is not None]
        n = len(self.problems)
        return {
            "val_accuracy": sum(v.correct is True for v in verdicts) / n,
            "val_format": sum(v.format_ok for v in verdicts) / n,
            "val_truncated": sum(s.truncated for s in samples) / n,
            "val_n": n,
        }
