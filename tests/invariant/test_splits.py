"""No problem stands in two splits: not within a corpus, and not across corpora made with other seeds and sizes."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posttrain.data.config import SPLITS, DataConfig, Split
from posttrain.data.splits import same_text
from posttrain.data.stages import data
from posttrain.data.synthetic import LEVELS, TEMPLATES, problems, texts
from posttrain.data.synthetic.generate import stories
from posttrain.data.synthetic.split import split_of, templates_of
from posttrain.stage import Workspace

LEVEL_LISTS = st.lists(st.sampled_from(sorted(LEVELS)), min_size=1, max_size=5, unique=True)


@settings(max_examples=15)
@given(first=st.integers(0, 10**6), second=st.integers(0, 10**6), levels=LEVEL_LISTS)
def test_no_problem_is_shared_between_splits_whatever_the_seeds(first: int, second: int, levels: list[int]) -> None:
    corpora = {split: [*problems(first, split, 150, levels), *problems(second, split, 150, (1,))] for split in SPLITS}
    for a, b in combinations(SPLITS, 2):
        assert not {same_text(p.question) for p in corpora[a]} & {same_text(p.question) for p in corpora[b]}
        assert not {p.id for p in corpora[a]} & {p.id for p in corpora[b]}


def _numbers_told(split: Split, seed: int) -> set[str]:
    """What is asked, whoever it happens to and whatever is counted."""
    from itertools import islice

    return {story.key for _, story in islice(stories(seed, split, (1, 2), disjoint_templates=False), 4000)}


def test_no_problem_returns_in_another_split_with_only_its_names_changed() -> None:
    keys = {split: _numbers_told(split, seed) for seed, split in enumerate(SPLITS)}
    for a, b in combinations(SPLITS, 2):
        assert not keys[a] & keys[b]


def test_the_same_text_is_always_the_same_problem() -> None:
    """The split is a function of the story's key, so two keys must never be told in the same words."""
    from itertools import islice

    keys: dict[str, str] = {}
    for split in SPLITS:
        for _, story in islice(stories(11, split, tuple(LEVELS), disjoint_templates=False), 8000):
            assert keys.setdefault(same_text(story.text), story.key) == story.key
            assert split_of(story.key) == split


def test_templates_can_be_kept_apart_too() -> None:
    owned = [{t.name for t in templates_of(split, True)} for split in SPLITS]
    assert set.union(*owned) == {t.name for t in TEMPLATES}
    assert sum(map(len, owned)) == len(TEMPLATES)
    for split, names in zip(SPLITS, owned, strict=True):
        assert {p.subject for p in problems(1, split, 400, (1, 3, 5), disjoint_templates=True)} == names


@pytest.mark.parametrize("dataset", ["synthetic", "synthetic-text"])
def test_the_stage_keeps_every_split_apart(tmp_path: Path, dataset: str) -> None:
    config = DataConfig(dataset=dataset, train=3000, validation=500, test=1000, levels=(1,))
    made = data(config, Workspace(tmp_path / "out", quiet=True)).read()
    by_split = {split: {same_text(p.question) for p in made if p.split == split} for split in SPLITS}
    assert [sum(p.split == s for p in made) for s in SPLITS] == [3000, 500, 1000]
    for a, b in combinations(SPLITS, 2):
        assert not by_split[a] & by_split[b]


def test_plain_text_for_pretraining_tells_no_story_of_a_test_problem() -> None:
    test = {" ".join(p.question.split(". ")[:-1]) for p in problems(1, "test", 4000, (1, 2))}
    told = {" ".join(d.question.rstrip(".").split(". ")) for d in texts(1, "train", 8000, (1, 2))}
    assert not test & told


def test_gsm8k_splits_share_no_question(mirror: Path, tmp_path: Path) -> None:
    made = data(DataConfig(dataset="gsm8k", validation=512), Workspace(tmp_path / "out", quiet=True)).read()
    texts_of = {split: {same_text(p.question) for p in made if p.split == split} for split in SPLITS}
    for a, b in combinations(SPLITS, 2):
        assert not texts_of[a] & texts_of[b]
