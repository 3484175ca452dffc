from posttrain.rl.diagnoses import SILENT, Watch, diagnose


def rows(n=8, **values):
    base = {"reward": 0.5, "accuracy": 0.5, "effective_groups": 0.8, "truncated": 0.0, "unparsed": 0.0, "entropy": 1.0}
    return [{"step": i + 1, **base, **values} for i in range(n)]


def test_a_healthy_run_has_no_notes():
    assert diagnose(rows()) == []


def test_all_wrong_says_the_problems_are_too_hard():
    (note,) = diagnose(rows(reward=0.0, accuracy=0.0, effective_groups=0.0))
    assert "every rollout was wrong" in note
    assert "SFT" in note


def test_all_right_and_all_equal_are_told_apart():
    assert "every rollout was right" in diagnose(rows(reward=1.0, accuracy=1.0, effective_groups=0.0))[0]
    assert "within each group all rewards were equal" in diagnose(rows(effective_groups=0.0))[0]


def test_truncation_collapse_and_gaming_are_named():
    assert any("max_tokens" in n for n in diagnose(rows(truncated=0.9)))
    falling = rows(4) + [{**r, "entropy": 0.01} for r in rows(4)]
    assert any("explores" in n for n in diagnose(falling))
    gamed = [
        {"step": 0, "val_accuracy": 0.4},
        *rows(4, reward=0.2),
        *rows(4, reward=0.9),
        {"step": 8, "val_accuracy": 0.4},
    ]
    assert any("gamed" in n for n in diagnose(gamed))


def test_no_decided_reward_at_all_is_a_note_not_a_crash():
    assert "undecided" in diagnose(rows(reward=None))[0]


def test_length_collapse_solved_problems_clipping_and_a_stale_sampler_are_named():
    def said(word, *more):
        return any(word in n for n in diagnose([*rows(4), *more]))

    base = {"step": 9, "reward": 0.5, "accuracy": 0.5, "effective_groups": 0.8, "truncated": 0.0, "unparsed": 0.0}
    short = [{**r, "length_mean": 100.0} for r in rows(4)] + [{**r, "length_mean": 20.0} for r in rows(4)]
    assert any("responses shrank from 100 to 20 tokens" in n for n in diagnose(short))
    late = {"solved_groups": "harder ones", "undecided": "grader", "clip_fraction": "updates or passes"}
    for name, word in late.items():
        assert said(word, *[{**base, name: 0.9}] * 4), name
        assert not said(word, *[{**base, name: 0.0}] * 4), name
    assert said("staleness", *[{**base, "ess": 0.2}] * 4)


def test_equal_rewards_for_many_steps_are_said_once_while_the_run_goes_on():
    watching, row = Watch(), {"effective_groups": 0.0, "accuracy": 0.0}
    said = [watching.look(row) for _ in range(SILENT + 5)]
    assert [note is not None for note in said].index(True) == SILENT - 1
    assert sum(note is not None for note in said) == 1
    assert "too hard" in said[SILENT - 1]
    assert watching.look({"effective_groups": 0.5, "accuracy": 0.5}) is None
    assert any(watching.look(row) for _ in range(SILENT)), "silence that comes back is said again"
