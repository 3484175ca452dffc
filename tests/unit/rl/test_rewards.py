import math
import sys
import time
from pathlib import Path

import pytest

from posttrain.config import parse
from posttrain.errors import RecipeError, TrainingError
from posttrain.records import Problem, Sample, Verdict
from posttrain.rl.config import RewardConfig, RLConfig
from posttrain.rl.rewards import load_function, load_functions, score


def sample(correct, format_ok=True):
    verdict = Verdict(correct, format_ok, "7", "correct" if correct else "wrong")
    return Sample("p", 0, "3 + 4?", "The answer is 7.", "policy", gold="7", verdict=verdict)


def test_weighted_sum_with_its_parts_kept_apart():
    (reward,) = score([sample(True)], RewardConfig(correct=1.0, format=0.2), {})
    assert reward.total == pytest.approx(1.2)
    assert reward.parts == {"correct": 1.0, "format": 1.0}


def test_undecided_is_no_reward_and_not_a_wrong_answer():
    undecided, wrong = score([sample(None), sample(False)], RewardConfig(), {})
    assert undecided.total is None
    assert wrong.total == 0.0


def test_a_users_function_gets_what_trl_gives_and_adds_its_share():
    def shout(*, prompts, completions, answer):
        assert (prompts, completions, answer) == (["3 + 4?"], ["The answer is 7."], ["7"])
        return [0.5]

    (reward,) = score([sample(True)], RewardConfig(function="f.py:shout", function_weight=2.0), {"function": shout})
    assert reward.total == pytest.approx(2.0)
    assert reward.parts["function"] == 0.5


def test_a_users_function_gets_the_columns_of_the_data():
    problem = Problem("p", "3 + 4?", "7", level=2, extra={"source": "book", "answer": "not the gold"})
    given = {}

    def look(completions, **columns):
        given.update(columns)
        return [0.0] * len(completions)

    score([sample(True)], RewardConfig(function="f.py:look"), {"function": look}, problems={"p": problem})
    assert (given["level"], given["source"], given["answer"], given["subject"]) == ([2], ["book"], ["7"], [None])


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda **_: [math.nan], "rollout 0"),
        (lambda **_: [1.0, 2.0], "2 rewards for 1 rollouts"),
        (lambda **_: "high", "list of numbers"),
        (lambda **_: None, "list of numbers"),
        (lambda **_: 1 / 0, "ZeroDivisionError"),
        (lambda **_: sys.exit(3), "raised SystemExit: 3"),
        (lambda **_: time.sleep(5), "did not return within"),
    ],
)
def test_a_broken_function_stops_training_and_says_what_to_do(function, message):
    with pytest.raises(TrainingError, match=message):
        score([sample(True)], RewardConfig(function="f.py:f", timeout=0.2), {"function": function})


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


def test_several_functions_are_weighed_and_kept_apart(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def short(completions, **_): return [0.25]\ndef kind(completions, **_): return [3.0]\n")
    config = RewardConfig(correct=1.0, function={f"{file}:short": 2.0, f"{file}:kind": 0.5})
    (reward,) = score([sample(True)], config, load_functions(config))
    assert reward.total == pytest.approx(1.0 + 2.0 * 0.25 + 0.5 * 3.0)
    assert reward.parts == {"format": 1.0, "correct": 1.0, "short": 0.25, "kind": 3.0}
    assert RLConfig(reward=config).files() == {"reward.short": file, "reward.kind": file}
    (undecided,) = score([sample(True)], config, {**load_functions(config), "kind": lambda **_: [None]})
    assert (undecided.total, "kind" in undecided.parts) == (None, False)


def test_a_function_may_stand_for_the_whole_reward() -> None:
    said = parse(RLConfig, {"reward": "mine.py:short"}, "stage 'rl'")
    spelled = parse(RLConfig, {"reward": {"function": "mine.py:short", "correct": 0}}, "stage 'rl'")
    assert said == spelled
    assert said.reward.correct == 0


@pytest.mark.parametrize("name", ["correct", "kl"])
def test_components_of_one_name_are_refused(name: str) -> None:
    with pytest.raises(RecipeError, match=f"two components of the reward are called '{name}'"):
        parse(RLConfig, {"reward": {"function": {f"mine.py:{name}": 1.0}}}, "stage 'rl'")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def reward(:\n", "can't be imported: SyntaxError"),
        ("import no_such_library\n", "can't be imported: ModuleNotFoundError: No module named 'no_such_library'"),
        ("raise SystemExit(0)\n", "can't be imported: SystemExit: 0"),
    ],
)
def test_a_file_that_cannot_be_imported_is_said_in_one_message(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "mine.py"
    file.write_text(text)
    with pytest.raises(RecipeError, match=said):
        load_function(f"{file}:reward")
    other = tmp_path / "reward.txt"
    other.write_text("def reward(**_): return []\n")
    with pytest.raises(RecipeError, match=r"is no Python file. Its name must end in \.py"):
        load_function(f"{other}:reward")
