"""A judge on this machine: asked in chat, journaled, its nonsense counted."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.judge.fakes import graded

from posttrain.errors import ModelError
from posttrain.judge import JudgeConfig, read_judgements, read_summary
from posttrain.judge.stages import judge
from posttrain.stage import Workspace
from posttrain.store import Checkpoint, Scores


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    from posttrain.models import TinyConfig, save_model, tiny_model, train_tokenizer

    folder = tmp_path_factory.mktemp("model") / "tiny"
    tokenizer = train_tokenizer(["Is the answer correct? Reply with one JSON object."] * 20, 300)
    save_model(tiny_model(tokenizer, TinyConfig(hidden=16, layers=1, heads=2, context=4096), seed=1), tokenizer, folder)
    return Checkpoint(folder, name="tiny")


def run(scores: Scores, model: Checkpoint, folder: Path) -> Path:
    config = JudgeConfig.model_validate({"judge": "model", "max_tokens": 6})
    return judge(config, [scores], Workspace(folder, quiet=True), model=model).path


def test_a_model_that_knows_no_json_is_asked_twice_and_counted(
    tmp_path: Path, model: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = graded(tmp_path, 4, base=0.5)
    made = run(scores, model, tmp_path / "judged")
    summary, rows = read_summary(made), read_judgements(made)
    assert (summary["judge"], summary["asked"], summary["unparsed"], summary["asked_again"]) == ("tiny", 4, 4, 4)
    assert {r["status"] for r in rows} == {"unparsed"}
    assert all(r["reply"] is not None and r["first_reply"] is not None for r in rows)
    assert summary["entries"][0]["rate"] is None
    # What stands in the journal of an interrupted attempt is not asked again.
    monkeypatch.setattr("posttrain.judge.local.open_engine", lambda *_, **__: pytest.fail("nothing is left to ask"))
    run(scores, model, tmp_path / "judged")


def test_a_model_without_a_chat_template_is_no_judge(
    tmp_path: Path, model: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    from posttrain.evals.engines import open_engine

    def without(*arguments: object, **options: object) -> object:
        engine, tokenizer = open_engine(*arguments, **options)  # type: ignore[arg-type]
        tokenizer.chat_template = None
        return engine, tokenizer

    monkeypatch.setattr("posttrain.judge.local.open_engine", without)
    with pytest.raises(ModelError, match="tiny has no chat template"):
        run(graded(tmp_path, 2, base=0.5), model, tmp_path / "judged")
