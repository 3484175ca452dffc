from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from tests.unit.evals.fakes import CharTokenizer, Script, ScriptedEngine, sums

from posttrain.evals import EvalConfig
from posttrain.evals.stages import evaluate
from posttrain.records import problems_to_table
from posttrain.stage import Workspace
from posttrain.store import Checkpoint, Problems, Scores, write_table

Evaluate = Callable[..., Scores]


@pytest.fixture
def problems(tmp_path: Path) -> Problems:
    """Forty sums in the test split, ten solved ones in train."""
    folder = tmp_path / "problems"
    write_table(folder / "problems.parquet", problems_to_table(sums(40)))
    return Problems(folder, name="sums")


@pytest.fixture
def run_eval(tmp_path: Path, problems: Problems, monkeypatch: pytest.MonkeyPatch) -> Evaluate:
    """`run_eval({"base": wrong, "sft": right})`: the eval stage over scripted models; `only` some of them are named."""

    def run(
        scripts: Mapping[str, Script],
        folder: str = "scores",
        dies_after: int | None = None,
        source: Problems = problems,
        only: tuple[str, ...] = (),
        **config: object,
    ) -> Scores:
        engines: dict[str, ScriptedEngine] = {
            name: ScriptedEngine(script, dies_after=dies_after) for name, script in scripts.items()
        }
        run.engines = engines  # type: ignore[attr-defined]
        models = []
        for name in scripts:
            if only and name not in only:
                continue
            (tmp_path / name / "model").mkdir(parents=True, exist_ok=True)
            (tmp_path / name / "model" / "config.json").write_text(name)
            models.append(Checkpoint(tmp_path / name, name=name))
        monkeypatch.setattr(
            "posttrain.evals.engines.open_engine",
            lambda checkpoint, *_, **__: (engines[checkpoint.label], CharTokenizer()),
        )
        settings = EvalConfig.model_validate({"template": "plain", "max_tokens": 40, **config})
        work = Workspace(tmp_path / folder, seed=7, quiet=True)
        evaluate(settings, models, work, source)
        return Scores(tmp_path / folder, name=folder)

    return run
