"""The sweep stage over scripted checkpoints: order, one warm engine, what stands on the disk, resume, revisions."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tests.unit.evals.fakes import CharTokenizer, Script, ScriptedEngine, right, sums, wrong

from posttrain.cli.compare import compare as compare_verb
from posttrain.errors import DataError, ModelError, RecipeError, StoreError
from posttrain.evals import read_answers
from posttrain.evals.sweep import SweepConfig, read_sweep
from posttrain.evals.sweep.stages import sweep
from posttrain.evals.sweep.store import is_sweep
from posttrain.evals.sweep.warm import WarmEngine
from posttrain.records import problems_to_table
from posttrain.stage import Workspace
from posttrain.store import Checkpoint, Problems, Scores, write_json, write_table


def up_to(count: int) -> Script:
    """The first `count` problems are right."""
    return lambda problem_id, i: (right if int(problem_id.split("/")[1]) < count else wrong)(problem_id, i)


class SwappingEngine(ScriptedEngine):
    """Answers as the checkpoint whose weights it was given last."""

    def __init__(self, scripts: dict[str, Script], label: str) -> None:
        super().__init__(scripts[label])
        self.scripts = scripts
        self.loaded: list[str] = [label]

    def load_weights(self, source: object, version: int) -> None:
        assert isinstance(source, Checkpoint)
        self.loaded.append(source.label)
        self.script = self.scripts[source.label]


SCRIPTS = {"step-000000": up_to(4), "step-000010": up_to(8), "step-000020": up_to(20), "step-000030": up_to(30)}


def checkpoint(folder: Path, weights: str, config: str = "{}") -> None:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(config)
    (folder / "weights").write_text(weights)


def trained(
    folder: Path, *, last: int = 30, last_weights: str = "last", steps: tuple[int, ...] = (10, 20)
) -> Checkpoint:
    """What a training stage leaves: two checkpoints, the last model and its metrics."""
    for step in steps:
        checkpoint(folder / "checkpoints" / f"step-{step:06d}", f"of step {step}")
    checkpoint(folder / "model", last_weights)
    (folder / "metrics.jsonl").write_text(json.dumps({"step": last, "loss": 1.0}) + "\n")
    return Checkpoint(folder, name=folder.name)


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> list[SwappingEngine]:
    """The engines that were opened."""
    opened: list[SwappingEngine] = []

    def open_engine(checkpoint: Checkpoint, *_: object, **__: object) -> tuple[SwappingEngine, CharTokenizer]:
        opened.append(SwappingEngine(SCRIPTS, checkpoint.label))
        return opened[-1], CharTokenizer()

    monkeypatch.setattr("posttrain.evals.engines.open_engine", open_engine)
    monkeypatch.setattr(WarmEngine, "_source", lambda self, checkpoint: checkpoint)
    return opened


@pytest.fixture
def run(tmp_path: Path, problems: Problems, engines: list[SwappingEngine]) -> Callable[..., Scores]:
    def swept(
        model: Checkpoint,
        folder: str = "sweep",
        base: Checkpoint | None = None,
        source: Problems = problems,
        **config: object,
    ) -> Scores:
        settings = SweepConfig.model_validate({"template": "plain", "max_tokens": 40, **config})
        return sweep(settings, model, Workspace(tmp_path / folder, seed=7, quiet=True), source, base)

    return swept


def test_every_checkpoint_is_an_entry_in_order_of_steps(tmp_path: Path, run: Callable[..., Scores]) -> None:
    checkpoint(tmp_path / "base", "of nothing")
    made = run(trained(tmp_path / "rl"), base=Checkpoint(tmp_path / "base"), n=2, temperature=1.0)
    entries = made.read()["entries"]
    assert [(e["model"], e["step"], e["accuracy"]) for e in entries] == [
        ("step-000000", 0, 0.1),
        ("step-000010", 10, 0.2),
        ("step-000020", 20, 0.5),
        ("step-000030", 30, 0.75),
    ]
    found = read_sweep(made.path)
    assert (found.labels, found.steps, found.benchmarks) == (list(SCRIPTS), [0, 10, 20, 30], ["sums/test"])
    assert found.facts["finished"] is True
    said = found.facts["says"]["sums/test"]
    assert (said["trend"]["verdict"], said["best"]["step"], said["solved"]["at_last"]) == ("rises", 30, 30)
    assert found.analytics()["sums/test"]["steps"] == [0, 10, 20, 30]
    assert {s.weights_version for s in found.samples("step-000020", "sums/test")} == {20}
    assert [a.model for a in found.answers("sums/test")] == [a.model for a in read_answers([made])]
    with pytest.raises(DataError, match=r"has no step-000007 on sums/test\. It has: step-000000"):
        found.samples("step-000007", "sums/test")


def test_every_answer_is_a_line_of_json_with_its_verdict(tmp_path: Path, run: Callable[..., Scores]) -> None:
    made = run(trained(tmp_path / "rl"), n=2, temperature=1.0)
    lines = (made.path / "step-000010/sums-test/traces.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert len(rows) == 80
    assert rows[0] == {
        "step": 10,
        "problem_id": "sum/0",
        "index": 0,
        "question": "What is 0 + 1?",
        "response": "The answer is 1.",
        "gold": "1",
        "correct": True,
        "extracted": "1",
        "reason": "correct",
        "truncated": False,
        "tokens": 17,
    }
    assert not list(run(trained(tmp_path / "b"), "without", traces=False).path.rglob("traces.jsonl"))


def test_one_engine_is_kept_warm_and_given_each_checkpoints_weights(
    tmp_path: Path, run: Callable[..., Scores], engines: list[SwappingEngine]
) -> None:
    run(trained(tmp_path / "rl"))
    assert [e.loaded for e in engines] == [["step-000010", "step-000020", "step-000030"]]
    assert engines[0].closed


def test_another_architecture_or_tokenizer_gets_an_engine_of_its_own(
    tmp_path: Path, run: Callable[..., Scores], engines: list[SwappingEngine]
) -> None:
    checkpoint(tmp_path / "base", "of nothing", '{"hidden_size": 8}')
    run(trained(tmp_path / "rl"), base=Checkpoint(tmp_path / "base"))
    assert [e.loaded for e in engines] == [["step-000000"], ["step-000010", "step-000020", "step-000030"]]


def test_the_last_model_counts_once_where_a_checkpoint_has_its_weights(
    tmp_path: Path, run: Callable[..., Scores]
) -> None:
    made = run(trained(tmp_path / "rl", last=20, last_weights="of step 20"))
    assert read_sweep(made.path).labels == ["step-000010", "step-000020"]
    best = run(trained(tmp_path / "early", last=30, last_weights="of step 10"), "early-sweep")
    assert read_sweep(best.path).labels == ["step-000010", "step-000020"], "model/ is the best one, which is kept"


def test_some_steps_can_be_chosen_and_unknown_ones_are_refused(tmp_path: Path, run: Callable[..., Scores]) -> None:
    model = trained(tmp_path / "rl")
    assert read_sweep(run(model, steps=[30, 10]).path).labels == ["step-000010", "step-000030"]
    with pytest.raises(RecipeError, match=r"steps: rl has none of step 15\. It has 10, 20, 30"):
        run(model, "other", steps=[15])
    with pytest.raises(RecipeError, match="revisions are of a repository on the Hub, and rl is a folder"):
        run(model, "other", revisions=["main"])
    checkpoint(tmp_path / "bare", "alone")
    with pytest.raises(RecipeError, match="kept no checkpoints on its way"):
        run(Checkpoint(tmp_path / "bare"), "other")


def test_settings_that_a_sweep_cannot_keep_are_refused() -> None:
    with pytest.raises(ValueError, match="whose weights a sweep can't change"):
        SweepConfig.model_validate({"engine": "openai", "server": {"url": "http://127.0.0.1:1"}})
    with pytest.raises(ValueError, match="set one"):
        SweepConfig.model_validate({"steps": [1], "revisions": ["main"]})


def test_an_interrupted_sweep_goes_on_where_it_stopped_with_nothing_twice(
    tmp_path: Path, run: Callable[..., Scores], engines: list[SwappingEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = trained(tmp_path / "rl")
    whole = run(model, "whole", n=2, temperature=1.0, block=8)
    generate = SwappingEngine.generate

    def dying(self: SwappingEngine, *arguments: Any) -> Any:
        for completion in generate(self, *arguments):
            if len(self.generated) > 100:  # in the middle of the second checkpoint
                raise KeyboardInterrupt
            yield completion

    monkeypatch.setattr(SwappingEngine, "generate", dying)
    with pytest.raises(KeyboardInterrupt):
        run(model, "broken", n=2, temperature=1.0, block=8)
    standing = read_sweep(tmp_path / "broken")
    assert (standing.labels, standing.facts["finished"], standing.facts["says"]) == (["step-000010"], False, {})
    assert len(standing.samples("step-000010", "sums/test")) == 80, "what is finished can be read"
    monkeypatch.setattr(SwappingEngine, "generate", generate)
    run(model, "broken", n=2, temperature=1.0, block=8)
    assert engines[-1].loaded == ["step-000020", "step-000030"], "the finished checkpoint is not opened again"
    assert len(engines[-1].generated) <= 160 - 16
    for name in ("scores.json", "sweep.json", "analytics.json", "step-000020/sums-test/samples.parquet"):
        assert (tmp_path / "broken" / name).read_bytes() == (whole.path / name).read_bytes(), name


def test_a_finished_checkpoint_is_made_again_when_its_weights_have_changed(
    tmp_path: Path, run: Callable[..., Scores], engines: list[SwappingEngine]
) -> None:
    model = trained(tmp_path / "rl")
    run(model)
    (tmp_path / "rl/checkpoints/step-000010/weights").write_text("other")
    run(model)
    assert engines[-1].loaded == ["step-000010"]


def test_the_best_step_is_chosen_on_all_of_a_validation_split_and_on_half_of_others(
    tmp_path: Path, run: Callable[..., Scores]
) -> None:
    folder = tmp_path / "validation"
    write_table(folder / "problems.parquet", problems_to_table(sums(40, "validation")))
    model = trained(tmp_path / "rl")
    for made, n in ((run(model), 20), (run(model, "v", source=Problems(folder, name="v"), split="validation"), 40)):
        (said,) = read_sweep(made.path).facts["says"].values()
        assert said["best"]["selection"]["n"] == n
        assert (said["best"]["held_out"] is None) == (n == 40)


def test_answers_for_a_judge_have_analytics_and_no_scores(tmp_path: Path, run: Callable[..., Scores]) -> None:
    found = read_sweep(run(trained(tmp_path / "rl"), grading="none").path)
    assert found.facts["says"] == {}
    assert found.facts["benchmarks"][0]["graded"] is False
    assert "agreement" not in found.analytics()["sums/test"]["series"]
    assert len(found.samples("step-000030", "sums/test")) == 40


def test_sweeps_over_different_problem_sets_are_not_compared(tmp_path: Path, run: Callable[..., Scores]) -> None:
    model = trained(tmp_path / "rl")
    names = [str(run(model, "all").path) + ":step-000010", str(run(model, "few", limit=20).path) + ":step-000010"]
    done = CliRunner().invoke(compare_verb, names)
    assert isinstance(done.exception, DataError)
    assert "were not asked the same: they differ in n_problems (40 and 20)" in str(done.exception)


def test_a_folder_that_is_no_sweep_says_so(tmp_path: Path) -> None:
    assert not is_sweep(tmp_path)
    with pytest.raises(DataError, match=r"is missing, so .* is no sweep\. Make one: posttrain sweep RUN"):
        read_sweep(tmp_path)
    (tmp_path / "sweep.json").write_text("{")
    write_json(tmp_path / "scores.json", {"entries": []})
    with pytest.raises(DataError, match="can't be read"):
        read_sweep(tmp_path)


def mirrored(root: Path, *names: str) -> None:
    for number, name in enumerate(names):
        folder = root / "models/org" / f"model@{name}"
        checkpoint(folder, f"of {name}")
        write_json(folder / "mirror.json", {"ref": "org/model", "commit": f"{number:040x}", "files": {}})


def test_the_revisions_of_a_repository_are_swept_in_order_of_their_steps(
    tmp_path: Path, run: Callable[..., Scores], monkeypatch: pytest.MonkeyPatch
) -> None:
    mirrored(tmp_path / "mirror", "step-000020", "checkpoint-10", "main", "step-000030")
    monkeypatch.setenv("POSTTRAIN_DATA", str(tmp_path / "mirror"))
    repository = Checkpoint(Path("org/model"), name="model")
    found = read_sweep(run(repository).path)
    assert [(s["step"], s["revision"]) for s in found.facts["steps"]] == [
        (10, "checkpoint-10"),
        (20, "step-000020"),
        (30, "step-000030"),
    ]
    assert [e["accuracy"] for e in found.entries] == [0.2, 0.5, 0.75]
    assert read_sweep(run(repository, "two", steps=[30, 10]).path).steps == [10, 30]
    assert read_sweep(run(repository, "named", revisions=["step-000030"]).path).labels == ["step-000030"]
    with pytest.raises(ModelError, match=r"org/model has no revision 'step-9'\. It has: checkpoint-10"):
        run(repository, "other", revisions=["step-9"])
    with pytest.raises(ModelError, match=r"has no revision of step 15\. It has 10, 20, 30"):
        run(repository, "other", steps=[15])


def test_a_sweep_whose_samples_are_gone_says_which_file(tmp_path: Path, run: Callable[..., Scores]) -> None:
    made = run(trained(tmp_path / "rl"))
    (made.path / "step-000020/sums-test/samples.parquet").unlink()
    with pytest.raises(StoreError, match=r"step-000020/sums-test/samples.parquet is missing\. Put it back"):
        list(read_sweep(made.path).answers("sums/test"))
