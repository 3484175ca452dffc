"""FlexAttention under a block mask is attention inside each document, and is refused where it can't be trained with."""

from __future__ import annotations

import shutil

import pytest
import torch
from tests.unit.engines.tiny import tiny

from posttrain.errors import TrainingError
from posttrain.models import forward
from posttrain.models.attention import Documents, attend
from posttrain.training.config import TrainingConfig
from posttrain.training.policy import prepare

LENGTHS = (40, 3, 17, 64, 33)


@pytest.mark.real  # a C++ compiler, for ten seconds
@pytest.mark.filterwarnings("ignore")  # the compiler's own
def test_it_equals_documents_side_by_side() -> None:
    if shutil.which("g++") is None:
        pytest.skip("torch.compile needs a C++ compiler here, and there is no g++")
    draw = torch.Generator().manual_seed(2)
    documents = Documents(LENGTHS)
    q, k, v = (torch.randn(documents.rows + 3, heads, 16, generator=draw) for heads in (4, 2, 2))
    with torch.no_grad():
        wanted, found = (attend(q, k, v, documents, flex=flex) for flex in (False, True))
    assert found.shape == wanted.shape == (documents.rows + 3, 64)
    assert torch.allclose(found, wanted, atol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch has a gradient of FlexAttention on GPUs only")
def test_the_gradient_is_that_of_documents_side_by_side() -> None:
    model = tiny("qwen2").cuda()
    ids = torch.arange(sum(LENGTHS), device="cuda") % 50
    rows = torch.arange(sum(LENGTHS), device="cuda")
    found = []
    for flex in (False, True):
        setattr(model, forward.FLEX, flex)
        model.zero_grad()
        forward.hidden_states(model, ids, Documents(LENGTHS), rows).square().sum().backward()
        found.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    assert (found[1] - found[0]).norm() <= 1e-4 * found[0].norm()


def test_training_with_it_on_a_cpu_is_refused() -> None:
    with pytest.raises(TrainingError, match="attention: flex is for GPUs, and this stage trains on cpu"):
        prepare(TrainingConfig(attention="flex"), tiny("qwen2"))
