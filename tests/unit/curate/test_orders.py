"""Orders, budgets, shares, clusters: the arithmetic below the selectors."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posttrain.curate.selectors.groups import shares
from posttrain.curate.selectors.kmeans import kmeans, nearest, silhouettes
from posttrain.curate.selectors.order import in_turn, longest_first_by_domain, reach, shuffled
from posttrain.errors import DataError


def counts(groups, taken):
    return Counter(np.asarray(groups)[taken].tolist())


def test_groups_of_equal_weight_get_equal_shares_of_every_beginning() -> None:
    groups = np.repeat([0, 1, 2], [40, 40, 40])
    order = in_turn(groups, np.arange(120), seed=1)
    for budget in (3, 30, 90):
        assert set(counts(groups, order[:budget]).values()) == {budget // 3}


def test_what_a_small_group_lacks_is_taken_from_the_others_in_proportion() -> None:
    groups = np.repeat([0, 1, 2], [4, 100, 100])
    order = in_turn(groups, np.arange(204), seed=1)
    assert counts(groups, order[:60]) == {0: 4, 1: 28, 2: 28}
    weighted = in_turn(groups, np.arange(204), seed=1, weights={0: 4.0, 1: 3.0, 2: 1.0})
    found = counts(groups, weighted[:84])
    assert found[0] == 4
    assert abs(found[1] - 3 * found[2]) <= 3


@given(
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=8),
    budget=st.integers(1, 100),
    seed=st.integers(0, 5),
)
def test_shares_differ_by_one_at_most_unless_a_group_is_exhausted(sizes: list[int], budget: int, seed: int) -> None:
    groups = np.repeat(np.arange(len(sizes)), sizes)
    order = in_turn(groups, np.arange(len(groups)), seed)
    assert sorted(order.tolist()) == list(range(len(groups)))
    taken = counts(groups, order[:budget])
    whole = [taken[k] for k, size in enumerate(sizes) if taken[k] < size]
    assert max(whole, default=0) - min(whole, default=0) <= 1
    assert all(taken[k] >= min(size, max(whole, default=0) - 1) for k, size in enumerate(sizes))


def test_a_group_without_weight_is_left_out() -> None:
    order = in_turn(np.array([0, 1, 1, 2]), np.arange(4), seed=0, weights={0: 1.0, 2: 0.0})
    assert order.tolist() == [0]


def test_a_larger_budget_holds_the_smaller_one_and_tokens_end_it_before_the_row_that_does_not_fit() -> None:
    order = shuffled(np.arange(50), seed=3)
    lengths = np.full(50, 10)
    assert reach(order, 20).tolist() == reach(order, 40).tolist()[:20]
    assert len(reach(order, 50, 95, lengths)) == 9
    lengths[order[4]] = 1_000
    assert len(reach(order, 50, 95, lengths)) == 4, "it does not go on with shorter rows"


def test_s1_draws_domains_evenly_and_ranks_by_halves() -> None:
    """P(rank r) = 2^-(r+1) / (1 - 2^-m): of one domain of three, 4/7, 2/7 and 1/7 (arXiv 2501.19393, appendix)."""
    lengths = np.array([30, 20, 10])
    first = Counter(
        int(longest_first_by_domain(np.zeros(3, np.int64), lengths, np.arange(3), 1, seed)[0]) for seed in range(3_000)
    )
    assert [first[i] / 3_000 for i in range(3)] == pytest.approx([4 / 7, 2 / 7, 1 / 7], abs=0.03)
    domains = np.repeat([0, 1], [90, 10])
    taken = longest_first_by_domain(domains, np.arange(100), np.arange(100), 16, seed=0)
    assert 3 <= counts(domains, taken)[1] <= 10, "a small domain is as likely as a large one"
    everything = longest_first_by_domain(domains, np.arange(100), np.arange(100), 1_000, seed=0)
    assert sorted(everything.tolist()) == list(range(100))


def test_temperature_one_keeps_proportions_and_a_high_one_makes_them_equal() -> None:
    sizes = {"a": 900, "b": 100}
    assert shares(sizes, None, 1.0) == pytest.approx({"a": 0.9, "b": 0.1})
    assert shares(sizes, None, 2.0) == pytest.approx({"a": 0.75, "b": 0.25})  # 30 : 10
    assert shares(sizes, None, 1e6) == pytest.approx({"a": 0.5, "b": 0.5}, abs=1e-5)
    assert shares(sizes, {"b": 2.0}, 1.0) == {"a": 0.0, "b": 1.0}
    with pytest.raises(DataError, match="no row is of 'c', which has a weight"):
        shares(sizes, {"c": 1.0}, 1.0)


def blobs(seed: int, sizes: tuple[int, ...] = (60, 40, 20)) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    centres = np.eye(8, dtype=np.float32)[: len(sizes)]
    label = np.repeat(np.arange(len(sizes)), sizes)
    vectors = centres[label] + rng.normal(0, 0.05, (len(label), 8)).astype(np.float32)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), label


def test_kmeans_finds_clusters_that_are_there() -> None:
    for seed in range(5):
        vectors, truth = blobs(seed)
        found = kmeans(vectors, 3, seed)
        assert len(set(zip(truth.tolist(), found.tolist(), strict=True))) == 3, "one to one"


def test_kmeans_is_as_good_as_the_full_algorithm_of_scipy() -> None:
    from scipy.cluster.vq import kmeans2

    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(400, 6)).astype(np.float32)

    def inertia(label: np.ndarray) -> float:
        return sum(float(((vectors[label == k] - vectors[label == k].mean(0)) ** 2).sum()) for k in np.unique(label))

    ours = min(inertia(kmeans(vectors, 8, seed)) for seed in range(3))
    theirs = min(inertia(kmeans2(vectors, 8, minit="++", seed=seed)[1]) for seed in range(3))
    assert ours <= 1.05 * theirs


def test_kmeans_makes_no_empty_cluster_and_the_same_seed_the_same_clusters() -> None:
    vectors = np.repeat(np.eye(4, dtype=np.float32), 5, axis=0)
    found = kmeans(vectors, 10, seed=2)
    assert sorted(set(found.tolist())) == [0, 1, 2, 3], "four rows differ, so there are four clusters"
    assert (found == kmeans(vectors, 10, seed=2)).all()
    assert (nearest(vectors, vectors[[0, 5, 10, 15]]) == np.repeat([0, 1, 2, 3], 5)).all()


def test_silhouettes_are_rousseeuws() -> None:
    """Four points on a line, worked by hand: a = 1, b = mean(9, 10) and so on; alone in a cluster = 0."""
    line = np.array([[0.0], [1.0], [10.0], [20.0]], dtype=np.float32)
    label = np.array([0, 0, 1, 2])
    assert silhouettes(line, label) == pytest.approx([(10 - 1) / 10, (9 - 1) / 9, 0.0, 0.0])
    pairs = np.array([[0.0], [1.0], [10.0], [12.0]], dtype=np.float32)
    wanted = [(11 - 1) / 11, (10 - 1) / 10, (9.5 - 2) / 9.5, (11.5 - 2) / 11.5]
    assert silhouettes(pairs, np.array([0, 0, 1, 1])) == pytest.approx(wanted, rel=1e-5)
    assert np.isnan(silhouettes(line, np.zeros(4, np.int64))).all()
