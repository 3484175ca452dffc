"""An evaluation in parts: whoever makes them, in whatever order, the files come out the same."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.evals.fakes import CharTokenizer, ScriptedEngine, right, wrong

from posttrain.evals import EvalConfig
from posttrain.evals.sharding import make_parts, part_names
from posttrain.stage import Workspace
from posttrain.store import Checkpoint, Problems, Scores
from posttrain.store.manifest import VOLATILE, data_files

ASKED = {"n": 3, "temperature": 1.0, "block": 16}
SETTINGS = {"template": "plain", "max_tokens": 40, **ASKED}


def files(scores: Path) -> dict[str, bytes]:
    return {name: (scores / name).read_bytes() for name in data_files(scores) if Path(name).name not in VOLATILE}


def models(tmp_path: Path) -> list[Checkpoint]:
    return [Checkpoint(tmp_path / name, name=name) for name in ("base", "sft")]


def test_a_block_of_a_benchmark_by_a_model_is_a_part(tmp_path: Path, problems: Problems) -> None:
    inputs = {"models": models(tmp_path), "problems": problems}
    names = part_names(EvalConfig.model_validate(SETTINGS), inputs)
    starts = ("00000000", "00000016", "00000032")  # 40 problems
    assert names == [f"parts/{m}/sums-test/{s}.jsonl" for m in ("base", "sft") for s in starts]


@pytest.mark.parametrize(
    "more",
    [
        {"engine": "openai", "server": {"url": "http://127.0.0.1:1/v1"}},
        {"engine": "vllm", "vllm": {"tensor_parallel": 2}},
        {"suites": [{"suite": "lm_eval", "tasks": ["arc_easy"]}]},
    ],
)
def test_what_another_machine_answers_is_not_parted(
    tmp_path: Path, problems: Problems, more: dict[str, object]
) -> None:
    inputs = {"models": models(tmp_path), "problems": problems}
    assert part_names(EvalConfig.model_validate({**SETTINGS, **more}), inputs) == []


def test_parts_made_in_any_order_by_several_give_the_bytes_of_one(
    tmp_path: Path, problems: Problems, run_eval: Callable[..., Scores], monkeypatch: pytest.MonkeyPatch
) -> None:
    scripts = {"base": wrong, "sft": right}
    whole = run_eval(scripts, "whole", **ASKED)

    opened: list[ScriptedEngine] = []

    def open_engine(checkpoint: Checkpoint, *_: object, **__: object) -> tuple[ScriptedEngine, CharTokenizer]:
        opened.append(ScriptedEngine(scripts[checkpoint.label]))
        return opened[-1], CharTokenizer()

    monkeypatch.setattr("posttrain.evals.engines.open_engine", open_engine)
    config = EvalConfig.model_validate(SETTINGS)
    inputs = {"models": models(tmp_path), "problems": problems}
    names = part_names(config, inputs)
    random.Random(5).shuffle(names)
    parted = Workspace(tmp_path / "parted", seed=7, quiet=True)
    for shard in (names[::2], names[1::2]):
        scratch = Workspace(tmp_path / f"shard-{len(opened)}", seed=7, quiet=True)
        for name in make_parts(config, inputs, scratch, shard):
            (parted.state / name).parent.mkdir(parents=True, exist_ok=True)
            (scratch.state / name).rename(parted.state / name)
    assert all(engine.closed for engine in opened)
    assert sum(len(engine.generated) for engine in opened) == 2 * 40 * 3, "each answer once"

    before = len(opened)
    together = run_eval(scripts, "parted", **ASKED)
    assert len(opened) == before
    assert all(not engine.generated for engine in run_eval.engines.values()), "nothing was generated to merge"  # type: ignore[attr-defined]
    assert files(together.path) == files(whole.path)


def test_a_part_that_is_missing_or_of_other_weights_is_made_by_the_stage_itself(
    tmp_path: Path, problems: Problems, run_eval: Callable[..., Scores]
) -> None:
    whole = run_eval({"sft": right}, "whole", **ASKED)
    work = Workspace(tmp_path / "parted", seed=7, quiet=True)
    stale = work.state / "parts/sft/sums-test/00000016.jsonl"
    stale.parent.mkdir(parents=True)
    stale.write_text('{"key": "of other weights"}\n{"no": "sample"}\n')
    assert files(run_eval({"sft": right}, "parted", **ASKED).path) == files(whole.path)


def test_a_part_that_was_interrupted_goes_on_where_it_was(
    tmp_path: Path, problems: Problems, run_eval: Callable[..., Scores], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_eval({"sft": right}, "whole")  # makes the model's folder
    config = EvalConfig.model_validate(SETTINGS)
    inputs = {"models": [Checkpoint(tmp_path / "sft", name="sft")], "problems": problems}
    name = part_names(config, inputs)[0]
    engines = [ScriptedEngine(right, dies_after=7), ScriptedEngine(right)]
    monkeypatch.setattr("posttrain.evals.engines.open_engine", lambda *_, **__: (engines[0], CharTokenizer()))
    work = Workspace(tmp_path / "scratch", seed=7, quiet=True)
    with pytest.raises(KeyboardInterrupt):
        list(make_parts(config, inputs, work, [name]))
    engines.pop(0)
    assert list(make_parts(config, inputs, work, [name])) == [name]
    lines = (work.state / name).read_text().splitlines()
    assert len(lines) == 1 + 16 * 3
    assert len(set(lines)) == len(lines)
