"""Teachers on this machine: the solver and an engine, through everything that a reply goes through."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.unit.traces.scripted import ask, some_problems

from posttrain.config import parse
from posttrain.data.synthetic import problems
from posttrain.errors import DataError, RecipeError
from posttrain.models import save_model, tiny_model, train_tokenizer
from posttrain.models.config import TinyConfig
from posttrain.records import Sample
from posttrain.stage import Workspace
from posttrain.store import Checkpoint
from posttrain.traces.config import TracesConfig
from posttrain.traces.sharding import make_parts, part_names
from posttrain.traces.stages import traces

SOLVED = problems(1, "train", 200, (1, 2, 3))


def test_the_solver_is_right_and_the_flawed_one_in_the_share_asked_for(tmp_path: Path) -> None:
    given = some_problems(tmp_path, SOLVED)
    right = ask(tmp_path, given, "right", teacher="solver")
    assert all(s.verdict is not None and s.verdict.correct for s in right)
    both = ask(tmp_path, given, "both", teacher=["solver", "flawed-solver"], flaw_rate=0.3)
    assert [s.index for s in both[:2]] == [0, 1]
    wrong = [s for s in both if s.verdict is not None and not s.verdict.correct]
    assert {s.source for s in wrong} == {"teacher:flawed-solver"}
    assert 0.3 - 0.13 < len(wrong) / 200 < 0.3 + 0.13  # four standard deviations of 200 draws
    kept = ask(tmp_path, given, "kept", teacher="flawed-solver", flaw_rate=0.3, keep="correct", format="boxed")
    assert len(kept) == 200 - len(wrong)
    assert all(s.response.endswith(f"\\boxed{{{s.gold}}}") for s in kept)


def test_where_nothing_is_correct_nothing_can_be_kept(tmp_path: Path) -> None:
    given = some_problems(tmp_path, SOLVED[:3])
    with pytest.raises(DataError, match="of 3 answers of flawed-solver none is correct"):
        ask(tmp_path, given, teacher="flawed-solver", flaw_rate=1.0, keep="correct")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder = tmp_path_factory.mktemp("model")
    tokenizer = train_tokenizer([p.question for p in SOLVED], 300)
    shape = TinyConfig(hidden=16, layers=1, heads=2, vocabulary=300, context=256)
    save_model(tiny_model(tokenizer, shape, seed=0), tokenizer, folder)
    return Checkpoint(folder)


def test_an_engine_is_a_teacher_and_a_resume_computes_only_what_is_missing(
    model: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = some_problems(tmp_path, SOLVED[:6])
    monkeypatch.setattr("posttrain.traces.local.BLOCK", 2)
    config = parse(TracesConfig, {"teacher": "local", "samples": 2, "max_tokens": 6, "format": "think"}, "stage")
    whole = list(traces(config, given, Workspace(tmp_path / "whole", quiet=True), model).read())
    assert [(s.problem_id, s.index) for s in whole] == [(p.id, k) for p in SOLVED[:6] for k in range(2)]
    assert {s.source for s in whole} == {"teacher:local"}
    assert all(s.extra["usage"]["completion"] <= 6 and s.extra["cost"] == 0 for s in whole)
    assert all(s.finish_reason in ("stop", "length") for s in whole)

    first = tmp_path / "whole/.work/answers/00000000.json"
    half = Workspace(tmp_path / "half", quiet=True)
    (half.state / "answers").mkdir()
    (half.state / "answers" / first.name).write_text(first.read_text())
    again = list(traces(config, given, half, model).read())
    plain = [(s.response, s.verdict) for s in whole]
    assert [(s.response, s.verdict) for s in again] == plain
    kept = json.loads((half.state / "answers" / first.name).read_text())
    assert kept == json.loads(first.read_text()), "the finished block was not computed again"


def test_a_model_and_the_teacher_local_belong_together(model: Checkpoint, tmp_path: Path) -> None:
    given = some_problems(tmp_path, SOLVED[:1])
    with pytest.raises(RecipeError, match="teacher 'local' is a model of yours, and none is given"):
        ask(tmp_path, given, teacher="local")
    with pytest.raises(RecipeError, match="Write teacher: local"):
        traces(TracesConfig(), given, Workspace(tmp_path / "x", quiet=True), model)


def test_blocks_made_elsewhere_give_the_rows_of_one_machine(
    model: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All but how long an answer took."""
    monkeypatch.setattr("posttrain.traces.local.BLOCK", 2)
    given = some_problems(tmp_path, SOLVED[:7])
    config = parse(TracesConfig, {"teacher": "local", "samples": 2, "max_tokens": 6}, "stage")
    inputs = {"problems": given, "model": model}
    names = part_names(config, inputs)
    assert names == [f"answers/{start:08d}.json" for start in (0, 2, 4, 6)]
    parted = Workspace(tmp_path / "parted", quiet=True)
    (parted.state / "answers").mkdir()
    for shard in ([names[3], names[0]], [names[1], names[2]]):
        scratch = Workspace(tmp_path / shard[0].replace("/", "-"), quiet=True)
        for name in make_parts(config, inputs, scratch, shard):
            (scratch.state / name).rename(parted.state / name)

    def rows(work: Workspace) -> list[Sample]:
        found = list(traces(config, given, work, model).read())
        for sample in found:
            sample.extra.pop("seconds")
        return found

    whole = rows(Workspace(tmp_path / "whole", quiet=True))
    monkeypatch.setattr("posttrain.evals.engines.open_engine", lambda *_, **__: pytest.fail("nothing is left to ask"))
    assert rows(parted) == whole


def test_teachers_that_keep_one_journal_are_not_parted(tmp_path: Path) -> None:
    given = some_problems(tmp_path, SOLVED[:3])
    for teacher in ("reference", "solver"):
        assert part_names(parse(TracesConfig, {"teacher": teacher}, "stage"), {"problems": given}) == []
