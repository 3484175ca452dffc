"""A full or faulty disk under the training state and the model: the last good one stands, and the message says so."""

from __future__ import annotations

import contextlib
import resource

import pytest
import torch

from posttrain.errors import DamagedError, StoreError
from posttrain.models import load_model, save_model, tiny_model, train_tokenizer
from posttrain.models.config import TinyConfig
from posttrain.training.checkpoint import Saver
from posttrain.training.config import OptimizerConfig
from posttrain.training.update import Updater


@contextlib.contextmanager
def files_of_at_most(size):
    """To a writing process this is what a full disk is, only with EFBIG for ENOSPC."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.fixture
def saver(tmp_path):
    model = torch.nn.Linear(100, 100)
    return Saver(tmp_path, model, Updater.make(model, OptimizerConfig(), 1).optimizer)


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(["one two three"], 264)


def tiny(tokenizer, seed):
    return tiny_model(tokenizer, TinyConfig(hidden=32, layers=1, heads=2), seed=seed)


def test_a_full_disk_leaves_the_last_saved_state_and_says_what_to_do(saver, tmp_path):
    saver.save(1, {"tokens": 7})
    with files_of_at_most(10_000), pytest.raises(StoreError, match=r"The last saved state stands: free some space"):
        saver.save(2, {"tokens": 9})
    assert [p.name for p in tmp_path.iterdir()] == ["resume-00000001"]
    assert saver.restore() == (1, {"tokens": 7})


def test_a_full_disk_leaves_the_model_that_stood_there(tokenizer, tmp_path):
    folder = tmp_path / "model"
    before = tiny(tokenizer, 1)
    save_model(before, tokenizer, folder)
    with files_of_at_most(10_000), pytest.raises(StoreError, match=r"can't write the model .* Free some space"):
        save_model(tiny(tokenizer, 2), tokenizer, folder)
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    found = load_model(folder).state_dict()
    assert all(torch.equal(found[name], value) for name, value in before.state_dict().items())


def test_a_disk_that_is_full_at_the_tokenizer_is_named_too(tmp_path):
    words = ["".join(chr(97 + (i * j + j * j + i * i) % 26) for j in range(2, 32)) for i in range(25)]
    tokenizer = train_tokenizer([" ".join(words)] * 3, 1200)  # long words: larger than the model's weights
    model = tiny_model(tokenizer, TinyConfig(hidden=8, layers=1, heads=1, context=16), seed=1)
    save_model(model, tokenizer, tmp_path / "a")
    weights, words_file = ((tmp_path / "a" / n).stat().st_size for n in ("model.safetensors", "tokenizer.json"))
    assert weights < words_file - 1000
    with files_of_at_most(words_file - 1000), pytest.raises(StoreError, match=r"can't write the model .* Free some"):
        save_model(model, tokenizer, tmp_path / "b")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_model_takes_the_place_of_the_one_that_stood_there(tokenizer, tmp_path):
    after = tiny(tokenizer, 2)
    for model in (tiny(tokenizer, 1), after):
        save_model(model, tokenizer, tmp_path / "model")
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    found = load_model(tmp_path / "model").state_dict()
    assert all(torch.equal(found[name], value) for name, value in after.state_dict().items())


@pytest.mark.parametrize("name", ["state.safetensors", "state.json"])
@pytest.mark.parametrize("damage", ["cut short", "empty", "missing"])
def test_a_damaged_state_is_named_with_the_ways_on(saver, tmp_path, name, damage):
    saver.save(3, {})
    path = tmp_path / "resume-00000003" / name
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes(content[: len(content) // 2 if damage == "cut short" else 0])
    with pytest.raises(DamagedError, match=r"resume-00000003 can't be read .* Remove that folder to train again"):
        saver.restore()


def test_an_older_state_removed_in_part_does_not_matter(saver, tmp_path):
    saver.save(2, {"tokens": 5})
    (tmp_path / "resume-00000001").mkdir()  # the process died between its two files
    assert saver.restore() == (2, {"tokens": 5})


def test_saving_a_step_twice_never_leaves_a_moment_without_a_state(saver, tmp_path):
    saver.save(2, {"tokens": 5})
    before = (tmp_path / "resume-00000002").stat().st_ino
    saver.save(2, {"tokens": 5})
    assert (tmp_path / "resume-00000002").stat().st_ino == before
