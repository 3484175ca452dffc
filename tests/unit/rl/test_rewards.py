import math
import time
from pathlib import Path

import pytest

from posttrain.errors import RecipeError, TrainingError
from posttrain.records import Problem, Sample, Verdict
from posttrain.rl.config import RewardConfig, RLConfig
from posttrain.rl.rewards import load_function, score


def sample(correct, format_ok=True):
    verdict = Verdict(correct, format_ok, "7", "correct" if correct else "wrong")
    return Sample("p", 0, "3 + 4?", "The answer is 7.", "policy", gold="7", verdict=verdict)


def test_weighted_sum_with_its_parts_kept_apart():
    (reward,) = score([sample(True)], RewardConfig(correct=1.0, format=0.2), None)
    assert reward.total == pytest.approx(1.2)
    assert reward.parts == {"correct": 1.0, "format": 1.0}


def test_undecided_is_no_reward_and_not_a_wrong_answer():
    undecided, wrong = score([sample(None), sample(False)], RewardConfig(), None)
    assert undecided.total is None
    assert wrong.total == 0.0


def test_a_users_function_gets_what_trl_gives_and_adds_its_share():
    def shout(*, prompts, completions, answer):
        assert (prompts, completions, answer) == (["3 + 4?"], ["The answer is 7."], ["7"])
        return [0.5]

    (reward,) = score([sample(True)], RewardConfig(function="f.py:shout", function_weight=2.0), shout)
    assert reward.total == pytest.approx(2.0)
    assert reward.parts["function"] == 0.5


def test_a_users_function_gets_the_columns_of_the_data():
    problem = Problem("p", "3 + 4?", "7", level=2, extra={"source": "book", "answer": "not the gold"})
    given = {}

    def look(completions, **columns):
        given.update(columns)
        return [0.0] * len(completions)

    score([sample(True)], RewardConfig(function="f.py:look"), look, problems={sample(True).problem_id: problem})
    assert (given["level"], given["source"], given["answer"], given["subject"]) == ([2], ["book"], ["7"], [None])


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda **_: [math.nan], "rollout 0"),
        (lambda **_: [1.0, 2.0], "2 rewards for 1 rollouts"),
        (lambda **_: "high", "list of numbers"),
        (lambda **_: None, "list of numbers"),
        (lambda **_: 1 / 0, "ZeroDivisionError"),
        (lambda **_: time.sleep(5), "did not return within"),
    ],
)
def test_a_broken_function_stops_training_and_says_what_to_do(function, message):
    with pytest.raises(TrainingError, match=message):
        score([sample(True)], RewardConfig(function="f.py:f", timeout=0.2), function)


def test_a_function_is_loaded_from_its_file(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("def constant(**columns):\n    return [1.0] * len(columns['completions'])\n")
    assert load_function(f"{file}:constant")(completions=["a", "b"]) == [1.0, 1.0]
    with pytest.raises(RecipeError, match="no such file"):
        load_function("absent.py:f")
    with pytest.raises(RecipeError, match="no function 'other'"):
        load_function(f"{file}:other")


def test_the_bytes_of_a_reward_file_count_and_not_only_its_name(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def reward(**_): return []\n")
    assert RLConfig(reward=RewardConfig(function=f"{file}:reward")).files() == {"reward.function": file}
    assert RLConfig().files() == {}
