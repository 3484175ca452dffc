"""The `contest` stage: does any way beat the baseline, over seeds, and is it said plainly?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.report.fake_run import HOSTILE, _stage, given, samples_of, write_scores

from posttrain.errors import DataError, RecipeError
from posttrain.report.contest import ContestConfig, contest, way_of
from posttrain.stage import Workspace
from posttrain.stats import compare_seeds, detectable_over_seeds, holm
from posttrain.store import Scores, write_json


def run_of(run: Path, ways: dict[str, list[float]], n: int = 400, tokens: dict[str, int] | None = None) -> Scores:
    """One model per way and seed, made from a selection of its own, and their evaluation."""
    answers = {"base": samples_of("base", 0.1, n)}
    for way, accuracies in ways.items():
        for seed, accuracy in enumerate(accuracies):
            chosen, model = f"chosen--{way}--{seed}", f"sft--{way}--{seed}"
            total = (tokens or {}).get(way, 10_000)
            _stage(run, chosen, "curate", "samples", {}, {"rows": 100, "total_tokens": total}, 1.0)
            step = {
                "label": "1-diversity",
                "verb": "select",
                "name": "diversity",
                "config": {"select": "diversity", "budget": 100},
                "before": 300,
                "after": 100,
                "notes": {
                    "silhouette": 0.25,
                    "said": ["1 of 2 clusters are smaller than their share"],
                    "clusters": [{"cluster": 0, "size": 9, "taken": 9, "silhouette": 0.5, "samples": [HOSTILE]}],
                },
            }
            write_json(run / chosen / "curation.json", {"steps": [step]})
            inputs = {"traces": given(run, chosen)}
            _stage(run, model, "sft", "checkpoint", inputs, {"steps": 50, "tokens": 6 * total}, 2.0)
            answers[model] = samples_of(model, accuracy, n)
    return write_scores(run, answers)


def held(run: Path, scores: Scores, **config: Any) -> dict[str, Any]:
    made = contest(ContestConfig.model_validate(config), [scores], Workspace(run / "contest", quiet=True))
    found: dict[str, Any] = json.loads((made.path / "report.json").read_text())
    return found


def test_a_way_that_is_better_over_seeds_is_said_to_beat_the_baseline(tmp_path: Path) -> None:
    scores = run_of(tmp_path, {"random": [0.4, 0.42, 0.41], "good": [0.6, 0.61, 0.62], "same": [0.41, 0.42, 0.4]})
    found = held(tmp_path, scores)
    assert len(found["answers"]) == 1
    assert found["answers"][0].startswith("On data/test, good (+")
    assert found["answers"][0].endswith("beats random (of 2 tried). No difference could be shown for same.")
    verdicts = {c["way"]: c["verdict"] for c in found["comparisons"]}
    assert verdicts["good"] == "better"
    assert verdicts["same"].startswith("cannot tell")
    assert [w["name"] for w in found["ways"]] == ["base", "random", "good", "same"]
    assert found["notes"] == []


def test_when_none_beats_the_baseline_it_says_so_and_what_could_have_been_seen(tmp_path: Path) -> None:
    scores = run_of(tmp_path, {"random": [0.5, 0.54, 0.52], "a": [0.51, 0.55, 0.5], "b": [0.3, 0.31, 0.32]})
    found = held(tmp_path, scores)
    (answer,) = found["answers"]
    assert "none of the 2 ways beats random; the best is a (" in answer
    assert "could show a difference of" in answer
    assert "Worse than random: b (−" in answer
    page = (tmp_path / "contest/report.html").read_text()
    assert "none of the 2 ways beats random" in page
    assert "none of the 2 ways beats random" in (tmp_path / "contest/report.md").read_text()


def test_verdicts_are_welch_over_seeds_with_holms_correction(tmp_path: Path) -> None:
    ways = {"random": [0.4, 0.44, 0.42], "a": [0.46, 0.45, 0.49], "b": [0.42, 0.45, 0.43]}
    found = held(tmp_path, run_of(tmp_path, ways))
    each = {w["name"]: w["each"] for w in found["ways"]}
    p = [float(_welch(each["random"], each[way])) for way in ("a", "b")]
    assert [c["p"] for c in found["comparisons"]] == pytest.approx(p)
    assert [c["p_adjusted"] for c in found["comparisons"]] == pytest.approx(holm(p))
    assert {c["test"] for c in found["comparisons"]} == {"welch over seeds"}
    assert all(len(c["interval_over_problems"]) == 2 for c in found["comparisons"])


def _welch(a: list[float], b: list[float]) -> float:
    from scipy import stats

    return float(stats.ttest_ind(b, a, equal_var=False).pvalue)


def test_one_model_of_each_is_compared_problem_by_problem(tmp_path: Path) -> None:
    answers = {f"sft--{w}": samples_of(w, accuracy, 400) for w, accuracy in {"random": 0.4, "good": 0.6}.items()}
    found = held(tmp_path, write_scores(tmp_path, answers), repeats=False)
    (c,) = found["comparisons"]
    assert c["verdict"] == "better"
    assert c["seeds"] == [1, 1]
    assert "good does" not in found["answers"][0]


def test_unequal_budgets_stand_beside_the_answer(tmp_path: Path) -> None:
    ways = {"random": [0.4, 0.41], "more": [0.5, 0.52], "alike": [0.4, 0.42]}
    found = held(tmp_path, run_of(tmp_path, ways, tokens={"more": 15_000, "alike": 10_200}))
    assert found["notes"] == [
        "more had 50 % more tokens of data than random (15,000 and 10,000): their difference is not the selection's "
        "alone.",
        "more had 50 % more tokens trained on than random (90,000 and 60,000): their difference is not the selection's "
        "alone.",
    ]
    assert {w["name"]: w["budget"].get("tokens") for w in found["ways"]}["more"] == 15_000


def test_only_some_ways_are_held_against_the_baseline(tmp_path: Path) -> None:
    scores = run_of(tmp_path, {"random": [0.4, 0.41], "a": [0.5, 0.52], "b": [0.4, 0.42]})
    found = held(tmp_path, scores, baseline="a", only=["b"])
    assert [(c["way"], c["baseline"]) for c in found["comparisons"]] == [("b", "a")]


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"baseline": "rendom"}, "the baseline 'rendom' was not evaluated.*Did you mean 'random'"),
        ({"only": ["c"]}, "only: 'c' was not evaluated on data/test. .*Evaluated: random, a"),
        ({"repeats": False}, "the baseline 'random' was not evaluated.*random--0"),
    ],
)
def test_what_was_not_evaluated_can_not_be_held_against_anything(tmp_path: Path, config: Any, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        held(tmp_path, run_of(tmp_path, {"random": [0.4, 0.41], "a": [0.5, 0.52]}, n=30), **config)


def test_models_that_no_matrix_made_are_no_ways(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no model of these evaluations is called STAGE--WAY--REPEAT"):
        held(tmp_path, write_scores(tmp_path, {"base": samples_of("base", 0.4, 20)}))
    with pytest.raises(RecipeError, match="only 'random' was evaluated"):
        held(tmp_path, run_of(tmp_path, {"random": [0.4, 0.41]}, n=20))
    assert way_of("sft--pir-random--2", True) == "pir-random"
    assert way_of("sft--a--b", False) == "a--b"
    assert way_of("sft--a", True) is None


def test_two_evaluations_that_asked_differently_are_not_compared(tmp_path: Path) -> None:
    answers = {f"sft--random--{i}": samples_of(f"r{i}", 0.4, 30) for i in range(2)}
    first = write_scores(tmp_path, answers)
    second = write_scores(tmp_path, {f"sft--a--{i}": samples_of(f"a{i}", 0.4, 30) for i in range(2)}, "more", limit=5)
    with pytest.raises(DataError, match="were not asked the same"):
        contest(ContestConfig(), [first, second], Workspace(tmp_path / "contest", quiet=True))


def test_the_page_escapes_what_comes_from_outside(tmp_path: Path) -> None:
    scores = run_of(tmp_path, {"random": [0.4, 0.41], "a": [0.5, 0.52]}, n=30)
    held(tmp_path, scores, title=HOSTILE)
    page = (tmp_path / "contest/report.html").read_text()
    assert "<script>" not in page
    assert "alert(1)" in page


def test_the_detectable_difference_is_what_would_be_seen_with_80_percent_power() -> None:
    a, b = [0.4, 0.44, 0.42, 0.41], [0.5, 0.49, 0.53, 0.52]
    expected = (1.959964 + 0.841621) * np.sqrt(np.var(a, ddof=1) / 4 + np.var(b, ddof=1) / 4)
    assert detectable_over_seeds(a, b) == pytest.approx(expected, rel=1e-5)
    assert detectable_over_seeds([0.4], [0.4]) is None
    assert detectable_over_seeds([0.4, 0.4], [0.4, 0.4]) is None
    with pytest.raises(DataError, match="one seed of each"):
        compare_seeds([[0.4, 0.5]], [[0.5, 0.5]])


def test_silhouettes_and_cluster_samples_of_each_selection_are_on_the_page(tmp_path: Path) -> None:
    found = held(tmp_path, run_of(tmp_path, {"random": [0.4, 0.41], "a": [0.5, 0.52]}, n=30))
    (selector,) = found["selections"]["a"]
    assert selector["rule"] == "select diversity  budget 100"
    assert selector["facts"] == {"silhouette": 0.25}
    assert selector["clusters"][0]["samples"] == [HOSTILE]
    page = (tmp_path / "contest/report.html").read_text()
    assert "How a chose" in page
    assert "1 of 2 clusters are smaller than their share" in page
    assert "select diversity  budget 100" in (tmp_path / "contest/report.md").read_text()
