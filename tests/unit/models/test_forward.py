"""The training forward pass equals the Hugging Face module: values and gradients, however documents are packed."""

from __future__ import annotations

import random
import subprocess
import sys

import pytest
import torch
from tests.unit.engines.tiny import ARCHITECTURES, VOCAB, tiny
from torch.utils.checkpoint import checkpoint

from posttrain.models import forward, logprobs
from posttrain.models.attention import Documents
from posttrain.models.causal import WIDEST
from posttrain.models.logprobs import token_stats

HEAD = {"qwen2": {"num_attention_heads": 2, "num_key_value_heads": 1}, "qwen3": {}, "llama": {"head_dim": 32}}


def batch(lengths: list[int], seed: int = 1) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(ids, row, col): right-padded rows of which every token from the third on is asked for."""
    draw = random.Random(seed)
    ids = torch.zeros(len(lengths), max(lengths), dtype=torch.int64)
    for r, length in enumerate(lengths):
        ids[r, :length] = torch.tensor([draw.randrange(1, VOCAB) for _ in range(length)])
    asked = [(r, c) for r, length in enumerate(lengths) for c in range(2, length)]
    row, col = torch.tensor(asked).T
    return ids, row, col


def outcome(model: torch.nn.Module, lengths: list[int], *, bf16: bool = False) -> dict[str, torch.Tensor]:
    """Statistics of all tokens and the gradient of a loss that weighs each differently."""
    ids, row, col = batch(lengths)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        stats = token_stats(model, ids, row, col)
    model.zero_grad()
    (stats.logprobs * torch.linspace(-1, 2, len(row))).sum().backward()
    gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    return {"logprobs": stats.logprobs.detach(), "entropy": stats.entropy, "gradient": gradient}


def off(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> dict[str, float]:
    return {name: float((found[name] - wanted[name]).norm() / wanted[name].norm()) for name in wanted}


@pytest.fixture
def by_module(monkeypatch):
    """A context in which the module itself runs."""

    def run(model, lengths, **options):
        with monkeypatch.context() as patch:
            patch.setattr(logprobs, "supports", lambda model: False)
            return outcome(model, lengths, **options)

    return run


LENGTHS = [40, 3, 17, 64, 33]


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_values_and_gradients_are_those_of_the_module(kind, compiled, by_module, monkeypatch):
    model = tiny(kind, **HEAD[kind])
    wanted = by_module(model, LENGTHS)
    if not compiled:
        monkeypatch.setattr(forward, "lean", lambda: None)
    assert all(value <= 1e-5 for value in off(outcome(model, LENGTHS), wanted).values())


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_bfloat16_is_as_near_to_float32_as_the_module_under_autocast(kind, by_module):
    model = tiny(kind, **HEAD[kind], initializer_range=0.05)
    truth = by_module(model, LENGTHS)
    ours, theirs = off(outcome(model, LENGTHS, bf16=True), truth), off(by_module(model, LENGTHS, bf16=True), truth)
    assert all(ours[name] <= 1.5 * theirs[name] + 1e-4 for name in ours)


def test_documents_longer_than_the_compiled_attention_takes(by_module):
    model = tiny("qwen2", **HEAD["qwen2"], max_position_embeddings=1024)
    lengths = [WIDEST + 40, 20]
    assert all(value <= 1e-5 for value in off(outcome(model, lengths), by_module(model, lengths)).values())


def test_head_sizes_and_widths_that_vectors_do_not_divide(by_module):
    model = tiny("llama", hidden_size=72, num_attention_heads=6, num_key_value_heads=3, intermediate_size=100)
    assert all(value <= 1e-5 for value in off(outcome(model, LENGTHS), by_module(model, LENGTHS)).values())


def test_a_document_in_a_pack_does_not_see_its_neighbours():
    model = tiny("qwen2", **HEAD["qwen2"])
    ids, row, col = batch([30, 20])
    together = token_stats(model, ids, row, col).logprobs
    changed = ids.clone()
    changed[0, :30] = 7
    again = token_stats(model, changed, row, col).logprobs
    assert torch.equal(together[row == 1], again[row == 1])
    alone = token_stats(model, ids[1:, :20], torch.zeros(18, dtype=torch.int64), col[row == 1]).logprobs
    assert torch.allclose(alone, together[row == 1], rtol=1e-5, atol=1e-6)


def test_positions_begin_anew_in_every_document_and_padding_has_none():
    assert Documents((3, 2)).positions(7, torch.device("cpu")).tolist() == [0, 1, 2, 0, 1, 0, 0]


def test_gradients_are_the_same_with_checkpointing(monkeypatch):
    model = tiny("qwen3")
    wanted = outcome(model, LENGTHS)
    model.train()
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": False})
    calls = []
    with monkeypatch.context() as patch:
        patch.setattr(forward, "checkpoint", lambda *a, **k: calls.append(1) or checkpoint(*a, **k))
        again = outcome(model, LENGTHS)
    assert len(calls) == 3
    assert all(value <= 1e-5 for value in off(again, wanted).values())


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")
def test_adapters_are_called_and_frozen_weights_get_no_gradient(by_module):
    peft = pytest.importorskip("peft", reason="PEFT is not installed")
    config = peft.LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")
    model = peft.get_peft_model(tiny("qwen2", **HEAD["qwen2"]), config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1, generator=torch.Generator().manual_seed(3))
    assert forward.supports(model)
    assert all(value <= 1e-5 for value in off(outcome(model, LENGTHS), by_module(model, LENGTHS)).values())
    assert model.base_model.model.model.layers[0].mlp.down_proj.base_layer.weight.grad is None


def test_what_hangs_on_a_module_is_respected_by_running_the_module():
    model = tiny("llama")
    assert forward.supports(model)
    handle = model.model.layers[1].mlp.register_forward_pre_hook(lambda module, inputs: None)
    assert not forward.supports(model)
    handle.remove()
    model.model.layers[0].forward = model.model.layers[0].forward
    assert not forward.supports(model)
    assert not forward.supports(torch.nn.Linear(2, 2))


def test_dropout_of_attention_is_left_to_the_module():
    model = tiny("llama", attention_dropout=0.1)
    assert forward.supports(model)
    assert not forward.supports(model.train())


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_token_statistics_of_the_compiled_code_are_those_of_log_softmax(dtype, temperature):
    generator = torch.Generator().manual_seed(2)
    hidden = torch.randn(50, 16, generator=generator).to(dtype).requires_grad_()
    weight = (3 * torch.randn(1003, 16, generator=generator)).to(dtype).requires_grad_()
    targets = torch.randint(0, 1003, (50,), generator=generator)
    targets[:10] = (hidden @ weight.T)[:10].argmax(1)
    upstream = torch.randn(50, generator=generator)
    log_p = torch.log_softmax((hidden @ weight.T).float() / temperature, 1)
    plain = log_p.gather(1, targets[:, None])[:, 0]
    wanted = torch.autograd.grad((plain * upstream).sum(), (hidden, weight))
    for chunk in (100, 7):  # logits kept, logits computed again
        stats = logprobs.logprobs_of(hidden, weight, targets, temperature=temperature, chunk=chunk)
        found = torch.autograd.grad((stats.logprobs * upstream).sum(), (hidden, weight))
        assert torch.allclose(stats.logprobs, plain, rtol=1e-5, atol=1e-5)
        assert torch.allclose(stats.entropy, -(log_p.exp() * log_p).sum(1), rtol=1e-4, atol=1e-5)
        assert torch.equal(stats.top1, log_p.argmax(1) == targets)
        for a, b in zip(found, wanted, strict=True):
            assert (a - b).norm() <= (1e-5 if dtype == torch.float32 else 1e-2) * b.norm()


def test_a_nan_in_the_weights_reaches_the_loss():
    model = tiny("qwen2", **HEAD["qwen2"])
    with torch.no_grad():
        model.model.layers[1].mlp.gate_proj.weight[3, 4] = float("nan")
    ids, row, col = batch([20, 30])
    for bf16 in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            assert token_stats(model, ids, row, col).logprobs.isnan().any()


_MEMORY = """
import torch
from posttrain.models.logprobs import logprobs_of

def peak(run):
    open("/proc/self/clear_refs", "w").write("5")
    before = status("VmRSS")
    run()
    return status("VmHWM") - before

def status(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name)) * 1024

VOCABULARY, HIDDEN = 151_936, 16
weight = torch.randn(VOCABULARY, HIDDEN, requires_grad=True)

def chunked(tokens):
    hidden = torch.randn(tokens, HIDDEN, requires_grad=True)
    targets = torch.randint(0, VOCABULARY, (tokens,))
    (-logprobs_of(hidden, weight, targets).logprobs.mean()).backward()

def whole(tokens):
    hidden = torch.randn(tokens, HIDDEN, requires_grad=True)
    targets = torch.randint(0, VOCABULARY, (tokens,))
    torch.nn.functional.cross_entropy(hidden @ weight.T, targets).backward()

chunked(8)
whole(8)
print(peak(lambda: chunked(8192)), peak(lambda: whole(512)))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of the process's memory from Linux")
def test_the_loss_of_8k_tokens_over_152k_words_takes_a_tenth_of_the_unchunked_memory_at_most():
    """Unchunked memory is linear in the tokens: measured on a sixteenth of them."""
    done = subprocess.run([sys.executable, "-c", _MEMORY], capture_output=True, text=True, check=True)
    chunked, part = map(int, done.stdout.split())
    assert part * 16 > 2 * 8192 * 151_936 * 4, "logits and their gradient at least"
    assert chunked <= 0.10 * 16 * part, f"{chunked / (16 * part):.1%}"
    print(f"peak memory of the loss: {chunked / 1e6:.0f} MB, {chunked / (16 * part):.1%} of {16 * part / 1e9:.1f} GB")
