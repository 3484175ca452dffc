"""All checkpoints of a run; answers kept for a judge; lm-eval's format; seeds of training."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.unit.evals.conftest import Evaluate
from tests.unit.evals.fakes import right, wrong

from posttrain.benchmarks.benchmark import UNGRADED
from posttrain.cli.compare import compare as compare_verb
from posttrain.cli.export_samples import export_samples
from posttrain.errors import DataError, RecipeError
from posttrain.evals import EvalConfig, read_answers, read_ungraded
from posttrain.evals.regrade import RegradeConfig, regrade
from posttrain.evals.seeds import Method, compare_methods
from posttrain.evals.sweep import step_of, with_checkpoints
from posttrain.records import Verdict
from posttrain.stage import Workspace
from posttrain.store import Checkpoint


def trained(folder: Path, *steps: int) -> Checkpoint:
    """What a training stage leaves."""
    for step in steps:
        (folder / "checkpoints" / f"step-{step:06d}").mkdir(parents=True)
    (folder / "model").mkdir(parents=True)
    return Checkpoint(folder, name=folder.name)


def test_a_run_stands_for_all_its_checkpoints_for_the_last_or_for_some(tmp_path: Path) -> None:
    rl, base = trained(tmp_path / "rl", 20, 5, 10), trained(tmp_path / "base")
    names = {w: [m.label for m in with_checkpoints([base, rl], w)] for w in ("all", "last", (5, 20))}  # type: ignore[arg-type]
    assert names == {
        "all": ["base", "rl@5", "rl@10", "rl@20", "rl"],
        "last": ["base", "rl"],
        (5, 20): ["base", "rl@5", "rl@20"],
    }
    assert [step_of(m) for m in with_checkpoints([rl], "all")] == [5, 10, 20, None]
    with pytest.raises(RecipeError, match=r"rl has none of step 7\. It has 5, 10, 20"):
        with_checkpoints([rl], (7,))
    with pytest.raises(RecipeError, match="none of base kept checkpoints"):
        with_checkpoints([base], "all")


def test_checkpoints_are_all_last_or_steps() -> None:
    assert EvalConfig.model_validate({"checkpoints": [5, 10]}).checkpoints == (5, 10)
    with pytest.raises(ValueError, match="checkpoints"):
        EvalConfig.model_validate({"checkpoints": "some"})


def test_the_checkpoints_of_a_run_are_entries_with_their_steps(run_eval: Evaluate, tmp_path: Path) -> None:
    trained(tmp_path / "rl", 5, 10)
    made = run_eval({"rl": right, "rl@5": wrong, "rl@10": wrong}, only=("rl",), checkpoints="all")
    found = [(e["model"], e.get("step"), e["accuracy"]) for e in made.read()["entries"]]
    assert found == [("rl@5", 5, 0.0), ("rl@10", 10, 0.0), ("rl", None, 1.0)]


def test_answers_without_a_grader_are_kept_for_a_judge(run_eval: Evaluate, tmp_path: Path) -> None:
    scores = run_eval({"base": right}, grading=UNGRADED)
    content = scores.read()
    assert content["entries"] == []
    (entry,) = content["ungraded"]
    assert (entry["n"], entry["truncation_rate"]) == (40, 0.0)
    assert "accuracy" not in entry
    (answers,) = read_ungraded([scores])
    assert all(s.verdict is None and s.response for s in answers.samples)
    again = regrade(RegradeConfig(), scores, Workspace(tmp_path / "again", quiet=True))
    assert [s.response for s in next(read_ungraded([again])).samples] == [s.response for s in answers.samples]


def test_entropy_is_estimated_where_answers_are_drawn_and_not_where_they_are_greedy(run_eval: Evaluate) -> None:
    drawn = run_eval({"base": right}, temperature=1.0).read()["entries"][0]
    assert drawn["entropy"] == pytest.approx(0.5)  # the scripted engine says −0.5 of every token
    greedy = run_eval({"base": right}, "greedy", temperature=0.0).read()["entries"][0]
    assert "entropy" not in greedy
    assert greedy["mean_logprob"] == pytest.approx(-0.5)


def test_repeated_samples_have_intervals_in_the_table(run_eval: Evaluate) -> None:
    def mixed(problem_id: str, index: int) -> str:
        return (right if (int(problem_id.split("/")[1]) + index) % 3 else wrong)(problem_id, index)

    scores = run_eval({"a": mixed, "b": right}, n=4, temperature=1.0)
    entry = scores.read()["entries"][0]
    for name in ("pass_at", "maj_at"):
        for k, value in entry[name].items():
            low, high = entry[f"{name}_interval"][k]
            assert low <= value <= high
    low, high = entry["tokens_interval"]
    assert low <= entry["mean_tokens"] <= high
    table = CliRunner().invoke(compare_verb, [str(scores.path)]).output
    assert "pass@2 100.0 % (" in table
    assert "maj@4 " in table
    assert "entropy 0.500" in table
    assert "tokens" in table


def test_samples_are_written_as_lm_eval_writes_them(run_eval: Evaluate, tmp_path: Path) -> None:
    scores = run_eval({"base": right}, n=2, temperature=1.0)
    done = CliRunner().invoke(export_samples, [str(scores.path), "--out", str(tmp_path / "exported")])
    assert done.exit_code == 0, done.output
    (path,) = (tmp_path / "exported").rglob("samples_*.jsonl")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(rows) == 40
    first = rows[0]
    assert set(first) == {
        *("doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics"),
        *("doc_hash", "prompt_hash", "target_hash", "exact_match"),
    }
    assert (first["target"], first["exact_match"], len(first["resps"][0])) == ("1", 1.0, 2)
    (results,) = (tmp_path / "exported").rglob("results_*.json")
    assert json.loads(results.read_text())["results"]["sums-test"]["exact_match,none"] == 1.0
    missing = CliRunner().invoke(export_samples, [str(tmp_path)])
    assert isinstance(missing.exception, RecipeError)


def seeds_of(run_eval: Evaluate, folder: str = "scores", **shares: int) -> dict[str, Method]:
    """Methods a and b with three seeds each: so many of 40 right, by name a1, a2 …"""

    def up_to(count: int):  # type: ignore[no-untyped-def]
        return lambda problem_id, i: (right if int(problem_id.split("/")[1]) < count else wrong)(problem_id, i)

    scores = run_eval({name: up_to(count) for name, count in shares.items()}, folder)
    answers = {a.model: a for a in read_answers([scores])}
    return {m: Method(m, tuple(a for name, a in answers.items() if name[0] == m)) for m in ("a", "b")}


def test_seeds_are_a_level_of_their_own(run_eval: Evaluate) -> None:
    methods = seeds_of(run_eval, a1=10, a2=12, a3=14, b1=20, b2=22, b3=24)
    found = compare_methods(methods["a"], methods["b"])
    assert found["accuracies_a"] == pytest.approx((0.25, 0.30, 0.35))
    assert found["spread_a"] == pytest.approx(0.05)
    assert (found["difference"], found["verdict"]) == (pytest.approx(0.25), "better")
    noisy = compare_methods(*seeds_of(run_eval, "noisy", a1=2, a2=20, b1=6, b2=24).values())
    assert noisy["verdict"].startswith("cannot tell; it would take about ")


def test_methods_asked_differently_are_refused(run_eval: Evaluate) -> None:
    methods = seeds_of(run_eval, a1=10, a2=12, b1=20, b2=22)
    first, second = methods["b"].answers
    other = dataclasses.replace(second, samples=second.samples[1:])
    with pytest.raises(DataError, match="answered different problems"):
        compare_methods(methods["a"], Method("b", (first, other)))
    unsure = [dataclasses.replace(s, verdict=Verdict(None, False, None, "timeout")) for s in second.samples]
    with pytest.raises(DataError, match="undecided"):
        compare_methods(methods["a"], Method("b", (first, dataclasses.replace(second, samples=unsure))))


def test_the_verb_takes_seeds_joined_by_plus(run_eval: Evaluate) -> None:
    path = run_eval({"a1": wrong, "a2": wrong, "b1": right, "b2": right}).path
    names = [f"{path}:a1+{path}:a2", f"{path}:b1+{path}:b2"]
    found = json.loads(CliRunner().invoke(compare_verb, [*names, "--json"]).output)["seeds"]
    assert [(c["n"], c["difference"], c["verdict"]) for c in found] == [(40, 1.0, "better")]
    assert "100.0 %, 100.0 % (sd 0.0)" in CliRunner().invoke(compare_verb, names).output
    both = CliRunner().invoke(compare_verb, [str(path) + "+" + str(path), names[0]])
    assert "holds several models" in str(both.exception)
    alone = CliRunner().invoke(compare_verb, [names[0]])
    assert "needs two ways of training" in str(alone.exception)
