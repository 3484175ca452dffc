import pytest
import torch

from posttrain.models.logprobs import logprobs_of


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_values_and_gradients_equal_plain_log_softmax_for_any_chunk(chunk, temperature):
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(10, 8, generator=generator, dtype=torch.float64).requires_grad_()
    weight = torch.randn(30, 8, generator=generator, dtype=torch.float64).requires_grad_()
    targets = torch.randint(0, 30, (10,), generator=generator)
    upstream = torch.randn(10, generator=generator)

    plain = torch.log_softmax(hidden @ weight.T / temperature, -1)
    expected = torch.autograd.grad((plain.gather(1, targets[:, None])[:, 0] * upstream).sum(), (hidden, weight))
    stats = logprobs_of(hidden, weight, targets, temperature=temperature, chunk=chunk)
    found = torch.autograd.grad((stats.logprobs * upstream).sum(), (hidden, weight))

    assert torch.allclose(stats.logprobs.double(), plain.gather(1, targets[:, None])[:, 0], atol=1e-5)
    assert torch.allclose(stats.entropy.double(), -(plain.exp() * plain).sum(-1), atol=1e-5)
    assert torch.equal(stats.top1, plain.argmax(-1) == targets)
    for a, b in zip(found, expected, strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-5)


def test_entropy_and_top1_carry_no_gradient():
    hidden = torch.randn(2, 4, requires_grad=True)
    stats = logprobs_of(hidden, torch.randn(5, 4), torch.tensor([1, 2]))
    assert not stats.entropy.requires_grad
    assert stats.logprobs.requires_grad
