import pytest
import torch

from posttrain.errors import TrainingError
from posttrain.training.checkpoint import Saver
from posttrain.training.config import OptimizerConfig
from posttrain.training.update import Updater


def trained(seed, steps, folder=None, stop=None):
    """`steps` random-gradient steps; saves after `stop` and restores into a fresh model when `stop` is given."""
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 3)
    updater = Updater.make(model, OptimizerConfig(lr=0.01), steps)
    start = 0
    if folder is not None and stop is None:
        start, counters = Saver(folder, model, updater.optimizer).restore()
        assert counters == {"tokens": 42}
    for step in range(start, steps):
        generator = torch.Generator().manual_seed(seed + step)
        for p in model.parameters():
            p.grad = torch.randn(p.shape, generator=generator)
        updater.apply(step, "test")
        if stop is not None and step + 1 == stop:
            Saver(folder, model, updater.optimizer).save(stop, {"tokens": 42})
            return None
    return model.state_dict()


def test_a_restored_run_ends_bit_identical_to_an_uninterrupted_one(tmp_path):
    whole = trained(5, 10)
    trained(5, 10, tmp_path, stop=4)
    resumed = trained(5, 10, tmp_path)
    assert all(torch.equal(whole[k], resumed[k]) for k in whole)


def test_only_the_newest_state_is_kept_and_a_torn_one_is_ignored(tmp_path):
    model = torch.nn.Linear(2, 2)
    optimizer = Updater.make(model, OptimizerConfig(), 1).optimizer
    saver = Saver(tmp_path, model, optimizer)
    saver.save(1, {})
    saver.save(2, {})
    (tmp_path / ".resume-00000003.tmp").mkdir()  # what a kill inside a write leaves
    assert saver.restore() == (2, {})
    assert [p.name for p in tmp_path.iterdir()] == ["resume-00000002"]


def test_the_random_state_is_restored(tmp_path):
    model = torch.nn.Linear(2, 2)
    saver = Saver(tmp_path, model, Updater.make(model, OptimizerConfig(), 1).optimizer)
    torch.manual_seed(7)
    saver.save(1, {})
    expected = torch.rand(3)
    torch.manual_seed(8)
    saver.restore()
    assert torch.equal(torch.rand(3), expected)


def test_the_state_of_another_model_is_refused(tmp_path):
    small, large = torch.nn.Linear(2, 2), torch.nn.Linear(3, 2)
    Saver(tmp_path, small, Updater.make(small, OptimizerConfig(), 1).optimizer).save(1, {})
    with pytest.raises(TrainingError, match="another model"):
        Saver(tmp_path, large, Updater.make(large, OptimizerConfig(), 1).optimizer).restore()
