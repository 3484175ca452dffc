"""What scores say over steps: the trend, paired tests as one family, and the best step, chosen on the selection
split."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from posttrain.errors import DataError
from posttrain.evals.sweep.says import Course, course_of, says, selected
from posttrain.stats import compare_paired, holm, trend

STEPS = (0, 50, 100)


def course(scores: NDArray[np.float64], undecided: tuple[float, ...] = (0.0, 0.0, 0.0)) -> Course:
    items = tuple(f"p/{i}" for i in range(scores.shape[1]))
    return Course(tuple(f"step-{s:06d}" for s in STEPS), STEPS, items, scores, undecided, 1)


def learning(n: int = 400) -> NDArray[np.float64]:
    """Ever more problems are solved."""
    difficulty = np.linspace(0, 1, n)
    return np.stack([(difficulty < share).astype(float) for share in (0.3, 0.4, 0.6)])


def test_the_trend_and_the_paired_tests_are_those_of_the_statistics() -> None:
    scores = learning()
    said = says(course(scores), 0.5)
    expected = trend(STEPS, scores)
    assert (said["trend"]["slope"], said["trend"]["p"]) == (expected.slope, expected.p)
    assert said["trend"]["verdict"] == "rises"
    pairs = [(c["a"], c["b"]) for c in said["comparisons"]]
    assert pairs == [("step-000000", "step-000050"), ("step-000000", "step-000100"), ("step-000050", "step-000100")]
    raw = [compare_paired(scores[a], scores[b]).p for a, b in ((0, 1), (0, 2), (1, 2))]
    assert [c["p_adjusted"] for c in said["comparisons"]] == pytest.approx(holm(raw))
    assert {c["verdict"] for c in said["comparisons"]} == {"better"}
    assert said["solved"] == {
        "ever": 240,
        "at_last": 240,
        "forgotten": 0,
        "flips_per_problem": pytest.approx(0.3),
        "gained": [40, 80],
        "lost": [0, 0],
    }


def test_the_best_step_is_chosen_on_the_selection_split_and_scored_on_the_rest() -> None:
    """Step 50 solves exactly the problems of the selection split: it is chosen, and its score is told elsewhere."""
    n = 200
    chosen = selected([f"p/{i}" for i in range(n)], 0.5)
    scores = np.stack([np.zeros(n), chosen.astype(float), np.full(n, 1.0) * ~chosen])
    best = says(course(scores), 0.5)["best"]
    assert (best["step"], best["selection"]["accuracy"], best["selection"]["n"]) == (50, 1.0, 100)
    assert (best["held_out"]["accuracy"], best["held_out"]["n"]) == (0.0, 100)
    assert best["held_out"]["against_last"]["difference"] == -1.0
    whole = says(course(scores), 1.0)["best"]
    assert whole["held_out"] is None, "no problem is left that did not choose"


def test_the_earliest_of_equal_steps_is_the_best() -> None:
    assert says(course(np.ones((3, 40))), 0.5)["best"]["step"] == 0


def test_the_selection_split_does_not_depend_on_the_order_of_problems() -> None:
    items = [f"p/{i}" for i in range(50)]
    first = {item for item, kept in zip(items, selected(items, 0.3), strict=True) if kept}
    backwards = items[::-1]
    assert first == {item for item, kept in zip(backwards, selected(backwards, 0.3), strict=True) if kept}
    assert len(first) == 15


def test_a_checkpoint_whose_verdicts_are_undecided_is_in_no_comparison() -> None:
    said = says(course(learning(), (0.0, 0.05, 0.0)), 0.5)
    assert [(c["a"], c["b"]) for c in said["comparisons"]] == [("step-000000", "step-000100")]
    assert said["refused"][0]["label"] == "step-000050"
    alone = says(course(learning(), (0.0, 0.05, 0.05)), 0.5)
    assert (alone["trend"], alone["comparisons"]) == (None, [])


def test_checkpoints_that_answered_other_problems_are_refused() -> None:
    one = {"ids": ["a", "b"], "scores": [1.0, 0.0], "undecided": 0.0}
    turned = {"ids": ["b", "a"], "scores": [1.0, 0.0], "undecided": 0.0}
    assert course_of(["x", "y"], [1, 2], [one, turned], 1).scores.tolist() == [[1.0, 0.0], [0.0, 1.0]]
    other = {"ids": ["a", "c"], "scores": [1.0, 0.0], "undecided": 0.0}
    with pytest.raises(DataError, match="y answered other problems than x"):
        course_of(["x", "y"], [1, 2], [one, other], 1)
