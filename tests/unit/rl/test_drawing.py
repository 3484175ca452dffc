"""Which problems come next."""

from collections import Counter

import pytest

from posttrain.errors import DataError
from posttrain.records import Problem, Sample, Verdict
from posttrain.rl.config import RLConfig
from posttrain.rl.drawing import Drawer
from posttrain.training.batches import batch_indices


def problems(n, levels=(None,)):
    return [Problem(f"p{i}", f"{i}?", str(i), level=levels[i % len(levels)]) for i in range(n)]


def answered(problem, rights):
    return [
        Sample(problem.id, i, "?", "!", "policy", verdict=Verdict(right, True, "1", "x"))
        for i, right in enumerate(rights)
    ]


def test_epochs_have_no_repetition_and_are_those_of_every_other_training():
    given = problems(10)
    drawer = Drawer(RLConfig(prompts=3), given, seed=5)
    drawn = [[p.id for p in drawer.draw(3, step)] for step in range(10)]
    assert drawn == [[f"p{i}" for i in batch_indices(10, 3, 5, step)] for step in range(10)]
    assert Counter(p for step in drawn for p in step) == {f"p{i}": 3 for i in range(10)}


def test_further_rounds_of_a_step_go_on_in_the_epoch_and_ask_nothing_twice():
    drawer = Drawer(RLConfig(prompts=4), problems(9), seed=0)
    first = {p.id for p in drawer.draw(4, 0)}
    second = {p.id for p in drawer.draw(4, 0, first)}
    third = {p.id for p in drawer.draw(4, 0, first | second)}
    assert len(first) == len(second) == 4
    assert not first & second
    assert not third & (first | second)


def test_a_restored_drawer_goes_on_as_if_nothing_had_happened():
    for settings in ({}, {"draw": "difficulty"}, {"curriculum": 0.5}):
        config = RLConfig(prompts=3, steps=10, **settings)
        given = problems(20, levels=(1, 2, 3))
        calm, rough = Drawer(config, given, 1), Drawer(config, given, 1)
        for step in range(4):
            for drawer in (calm, rough):
                for p in drawer.draw(3, step):
                    drawer.learn(answered(p, [True, step % 2 == 0]))
        resumed = Drawer(config, given, 1)
        resumed.restore(rough.state())
        for step in range(4, 10):
            assert [p.id for p in calm.draw(3, step)] == [p.id for p in resumed.draw(3, step)], settings


def test_problems_that_are_always_or_never_solved_come_seldom_when_drawn_by_difficulty():
    given = problems(30)
    drawer = Drawer(RLConfig(draw="difficulty"), given, seed=0)
    for _ in range(3):
        for i, p in enumerate(given):
            rights = [[True] * 8, [False] * 8, [True, False] * 4][i % 3]
            drawer.learn(answered(p, rights))
    drawn = Counter(int(p.id[1:]) % 3 for step in range(40) for p in drawer.draw(5, step))
    assert drawn[2] > 2 * drawn[0]
    assert drawn[2] > 2 * drawn[1]
    assert drawn[0] + drawn[1] > 0


def test_a_curriculum_brings_in_the_levels_one_by_one():
    config = RLConfig(steps=30, prompts=4, curriculum=0.5)
    drawer = Drawer(config, problems(30, levels=(1, 2, 3)), seed=0)
    seen = [{p.level for p in drawer.draw(4, step)} for step in range(30)]
    assert all(levels == {1} for levels in seen[:5])
    assert all(max(levels) <= 2 for levels in seen[5:10])
    assert set().union(*seen[10:]) == {1, 2, 3}


def test_a_curriculum_without_levels_is_refused():
    with pytest.raises(DataError, match="have 0"):
        Drawer(RLConfig(curriculum=0.5), problems(4), 0)
