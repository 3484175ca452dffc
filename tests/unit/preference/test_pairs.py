"""Pairs from graded samples."""

import pytest

from posttrain.errors import DataError
from posttrain.preference.config import PairsConfig
from posttrain.preference.pairs import make_pairs, read_pairs
from posttrain.records import Sample, Verdict


def sample(problem, index, correct, *, reward=None, text=None):
    verdict = Verdict(correct, True, "1", "x")
    return Sample(problem, index, f"{problem}?", text or f"answer {index}", "m", verdict=verdict, reward=reward)


def test_a_correct_answer_stands_against_a_wrong_one_and_undecided_ones_are_neither():
    made = make_pairs(
        [sample("a", 0, False), sample("a", 1, None), sample("a", 2, True), sample("b", 0, True), sample("b", 1, True)],
        PairsConfig(),
    )
    ((chosen, rejected),) = read_pairs(made)
    assert (chosen.key, rejected.key) == (("a", 2), ("a", 0))


def test_no_answer_is_in_two_pairs_and_the_number_per_problem_is_a_cap():
    given = [sample("a", i, i % 2 == 0) for i in range(6)]
    for wanted, expected in ((1, 1), (2, 2), (9, 3)):
        pairs = read_pairs(make_pairs(given, PairsConfig(per_problem=wanted)))
        assert len(pairs) == expected
        assert len({s.key for pair in pairs for s in pair}) == 2 * expected
        assert all(c.verdict.correct and not r.verdict.correct for c, r in pairs)


def test_by_reward_the_margin_decides():
    given = [sample("a", i, None, reward=r) for i, r in enumerate([0.9, 0.5, 0.4])]
    ((chosen, rejected),) = read_pairs(make_pairs(given, PairsConfig(by="reward", margin=0.4)))
    assert (chosen.index, rejected.index) == (0, 2)
    with pytest.raises(DataError, match="Sample more answers"):
        make_pairs(given, PairsConfig(by="reward", margin=0.6))


def test_equal_texts_make_no_pair():
    with pytest.raises(DataError, match="scored the same"):
        make_pairs([sample("a", 0, True, text="7"), sample("a", 1, False, text=" 7 ")], PairsConfig())


@pytest.mark.parametrize(
    ("given", "config", "said"),
    [
        ([Sample("a", 0, "?", "!", "m")], PairsConfig(), "has a verdict. Grade them first"),
        ([sample("a", 0, True)], PairsConfig(by="reward"), "has a reward"),
        ([sample("a", 0, True)], PairsConfig(split="test"), "of split 'test'"),
        ([sample("a", 0, True), sample("a", 1, True)], PairsConfig(), "scored the same"),
    ],
)
def test_where_nothing_is_left_it_is_said_what_was_missing(given, config, said):
    with pytest.raises(DataError, match=said):
        make_pairs(given, config)


def test_samples_that_are_no_pairs_are_refused():
    with pytest.raises(DataError, match="belongs to no pair"):
        read_pairs([sample("a", 0, True)])
    with pytest.raises(DataError, match="only one side"):
        read_pairs(make_pairs([sample("a", 0, True), sample("a", 1, False)], PairsConfig())[:1])
