"""A named algorithm sets what was not set; what can't work together is refused, with the reason."""

import pytest

from posttrain.config import parse
from posttrain.errors import RecipeError
from posttrain.rl.algorithms.presets import PRESETS
from posttrain.rl.config import RLConfig


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_sets_its_keys_and_single_keys_win_over_it(name):
    values = RLConfig(algorithm=name).model_dump(mode="json")
    assert {key: values[key] for key in PRESETS[name].settings} == PRESETS[name].settings
    assert RLConfig(algorithm=name).overrides() == {}
    mine = RLConfig(algorithm=name, aggregation="constant", clip_high=0.5)
    assert (mine.aggregation, mine.clip_high, mine.advantage) == ("constant", 0.5, values["advantage"])
    assert mine.overrides()["clip_high"] == (PRESETS[name].settings["clip_high"], 0.5)


def test_the_name_alone_and_its_keys_written_out_are_the_same_training():
    named, spelled = RLConfig(algorithm="dapo"), RLConfig(**PRESETS["dapo"].settings)
    same = named.fingerprint_values() | {"algorithm": None}
    assert same == spelled.fingerprint_values()


def test_staleness_turns_truncation_on_and_fresh_rollouts_need_none():
    assert RLConfig().corrected == "none"
    assert RLConfig(staleness=1).corrected == "truncate"
    assert RLConfig(staleness=1, correction={"kind": "none"}).corrected == "none"


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"group": 1}, "'group' is 1. Set group to 2 or more"),
        ({"group": 1, "algorithm": "rloo"}, "compares the rollouts of a group"),
        ({"top_p": 0.9, "staleness": 1}, "their ratio corrects nothing. Set top_p: 1"),
        ({"top_p": 0.9, "correction": {"kind": "mask"}}, "Set top_p: 1"),
        ({"kl": 0.1, "kl_estimator": "k1"}, "Use k2 or k3, or kl_in: reward"),
        ({"correction": {"kind": "mask", "low": 3.0}}, "correction.low 3 is above correction.high 2"),
        ({"updates": 9, "prompts": 2, "group": 2}, "more than the 4 rollouts"),
        ({"algorithm": "grppo"}, "algorithm"),
    ],
)
def test_what_can_not_work_together_is_refused(values, reason):
    with pytest.raises(RecipeError, match="rl") as refused:
        parse(RLConfig, values, "stage 'rl'")
    assert reason in str(refused.value)


def test_top_p_without_a_correction_and_a_group_of_one_without_a_baseline_are_fine():
    assert RLConfig(top_p=0.9).corrected == "none"
    assert RLConfig(group=1, algorithm="reinforce").advantage == "none"
