"""Evaluations to be judged, and judges that say what a test wants."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.unit.report.fake_run import make_run

from posttrain.judge.asks import Answered, Ask
from posttrain.judge.judges import Question
from posttrain.records import Sample, samples_to_tables
from posttrain.store import Scores, fingerprint, write_json, write_table

Says = Callable[[Ask, int], str]  # (what is asked, attempt) → reply


class ToldJudge:
    """Replies as `says` does; remembers the questions."""

    name = "told"

    def __init__(self, says: Says) -> None:
        self.says = says
        self.asked: list[Question] = []

    def answers(self, questions: Sequence[Question]) -> Iterator[tuple[int, Answered]]:
        for place, question in reversed(list(enumerate(questions))):
            self.asked.append(question)
            reply = self.says(question.ask, question.attempt)
            yield place, Answered(reply, judge=self.name, prompt_tokens=10, completion_tokens=2, cost=0.001)

    def close(self) -> None:
        """Nothing is held."""


def graded(tmp_path: Path, n: int = 40, **accuracies: float) -> Scores:
    """An evaluation of scripted models on data/test, with verdicts."""
    return make_run(tmp_path / "run", accuracies or {"base": 0.4, "sft": 0.8}, n)


def ungraded(
    folder: Path, answers: Mapping[str, Mapping[str, str]], benchmark: str = "alpaca_eval", **settings: Any
) -> Scores:
    """model → problem id → response, of a benchmark that only a judge can tell apart."""
    entries = []
    for model, responses in answers.items():
        samples = [
            Sample(id, 0, f"Question {id}?", text, model, finish_reason="stop") for id, text in responses.items()
        ]
        generations, verdicts = samples_to_tables(samples)
        write_table(folder / model / "samples.parquet", generations)
        write_table(folder / model / "verdicts.parquet", verdicts)
        asked = {"benchmark": benchmark, "grading": "none", **settings}
        entries.append(
            {
                "model": model,
                "benchmark": benchmark,
                "fingerprint": fingerprint(asked),
                "settings": asked,
                "folder": model,
            }
        )
    write_json(folder / "scores.json", {"version": 1, "entries": [], "ungraded": entries})
    return Scores(folder, name=folder.name)
