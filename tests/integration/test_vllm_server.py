"""The real vLLM server: what it samples, what it is made to serve, and what happens when it dies.

One server is shared, and the tests run in the order of this file: sampling first, then weights, then deaths.
"""

from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest
import torch
from tests.unit.engines.tiny import tiny
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from posttrain.engines import NativeEngine, Prompt, Sampling
from posttrain.engines.parity import module_logprobs, parity, sampled_parity
from posttrain.engines.sampler import process
from posttrain.engines.vllm import VLLMConfig, VLLMEngine
from posttrain.engines.vllm.server import find_environment
from posttrain.errors import EngineError
from posttrain.models import train_tokenizer
from posttrain.models.config import LoraConfig
from posttrain.models.lora import add_lora
from posttrain.records import Completion
from posttrain.store import Checkpoint

pytestmark = [pytest.mark.real, pytest.mark.timeout(1500)]

CONTEXT = 256
EAGER = ("--enforce-eager",)  # no compilation: a start costs half


def needs_vllm() -> None:
    try:
        find_environment(VLLMConfig())
    except EngineError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return train_tokenizer(["one and one is two. " * 4, "two and two is four. " * 4], 300)


def served(tokenizer: PreTrainedTokenizerBase, seed: int) -> PreTrainedModel:
    """Heads of 32: the server's attention on a CPU knows none smaller."""
    return tiny("qwen2", seed=seed, vocab_size=len(tokenizer), num_attention_heads=2, num_key_value_heads=1)


@pytest.fixture(scope="module")
def model(tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    return served(tokenizer, 0)


@pytest.fixture(scope="module")
def engine(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[VLLMEngine]:
    """Serves the checkpoint's own files: tied embeddings, as they come."""
    needs_vllm()
    folder = tmp_path_factory.mktemp("vllm")
    model.save_pretrained(folder / "model")
    source = Checkpoint(folder / "model")
    engine = VLLMEngine(
        source, folder=folder / "logs", config=VLLMConfig(extra_args=EAGER), max_batch=16, tokenizer=tokenizer
    )
    yield engine
    engine.close()


def some_prompts(count: int, vocab: int) -> list[Prompt]:
    draw = torch.Generator().manual_seed(1)
    lengths = [1 + 7 * i % 40 for i in range(count)]
    return [
        Prompt(f"p{i}", tuple(torch.randint(vocab, (length,), generator=draw).tolist()), seed=i)
        for i, length in enumerate(lengths)
    ]


def by_key(found: Iterator[Completion]) -> dict[tuple[str, int], Completion]:
    completions = list(found)
    named = {(c.key, c.index): c for c in completions}
    assert len(named) == len(completions)
    return named


def test_its_log_probabilities_are_the_modules(engine: VLLMEngine, model: PreTrainedModel) -> None:
    prompts = some_prompts(12, engine.vocab)
    sampled = sampled_parity(engine, model, prompts, Sampling(n=2, temperature=0.7, max_tokens=24))
    assert sampled.tokens == 12 * 2 * 24
    assert sampled.holds(1e-4)
    full = (prompts[5].token_ids * CONTEXT)[:CONTEXT]
    assert parity(engine, model, [*(p.token_ids for p in prompts if len(p.token_ids) > 1), full]).holds(1e-4)
    assert list(engine.score([(1,)])) == [[]]


def test_it_reports_the_distribution_that_it_samples_from(engine: VLLMEngine, model: PreTrainedModel) -> None:
    sampling = Sampling(n=2, temperature=0.7, top_p=0.8, top_k=20, max_tokens=16)
    checked = 0
    for c in engine.generate(some_prompts(8, engine.vocab), sampling):
        with torch.no_grad():
            logits = model(torch.tensor([c.prompt_ids + c.token_ids])).logits[0, len(c.prompt_ids) - 1 : -1]
        ours = process(logits, sampling).log_softmax(-1)
        wanted = ours.gather(-1, torch.tensor(c.token_ids)[:, None])[:, 0]
        # A token on the nucleus' edge may be in on one side only; then that side's whole row differs.
        assert (wanted - torch.tensor(c.logprobs)).abs().max() < 1e-4
        checked += len(c.token_ids)
    assert checked == 8 * 2 * 16


def test_a_prompt_has_settings_of_its_own_and_raw_log_probabilities_on_request(
    engine: VLLMEngine, model: PreTrainedModel
) -> None:
    own = Sampling(n=1, temperature=0.5, presence_penalty=1.0, max_tokens=5, raw_logprobs=True)
    first, second = some_prompts(2, engine.vocab)
    found = by_key(engine.generate([dataclasses.replace(first, sampling=own), second], Sampling(n=2, max_tokens=8)))
    assert {key: len(c.token_ids) for key, c in found.items()} == {("p0", 0): 5, ("p1", 0): 8, ("p1", 1): 8}
    c = found["p0", 0]
    assert found["p1", 0].raw_logprobs is None
    assert c.raw_logprobs is not None
    wanted = module_logprobs(model, c.prompt_ids + c.token_ids)[len(c.prompt_ids) - 1 :]
    assert c.raw_logprobs == pytest.approx(wanted, abs=1e-4)
    assert c.logprobs != pytest.approx(wanted, abs=1e-2)
    with pytest.raises(EngineError, match=r"entropy is on.*native engine"):
        list(engine.generate([first], Sampling(entropy=True)))


def test_noise_belongs_to_a_sample_not_to_its_company(engine: VLLMEngine) -> None:
    prompts = some_prompts(10, engine.vocab)
    sampling = Sampling(n=3, max_tokens=16)
    together = by_key(engine.generate(prompts, sampling))
    other = by_key(engine.generate(reversed(prompts[:4]), sampling))
    assert all(together[key].token_ids == c.token_ids for key, c in other.items())
    assert len({c.token_ids for (key, _), c in together.items() if key == "p9"}) == 3


def test_it_stops_where_the_native_engine_stops(
    engine: VLLMEngine, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    prompts = some_prompts(10, engine.vocab)
    native = NativeEngine(model, pad_id=0, tokenizer=tokenizer)
    free = by_key(native.generate(prompts, Sampling(temperature=0, max_tokens=40)))
    said = [c.token_ids for c in free.values()]
    string = tokenizer.decode(said[0][8:10])
    for sampling in (
        Sampling(temperature=0, max_tokens=40),
        Sampling(temperature=0, max_tokens=40, stop=(string,)),
        Sampling(temperature=0, max_tokens=40, stop_token_ids=(said[1][5], said[2][11])),
        Sampling(temperature=0, max_tokens=40, stop_token_ids=(said[1][5],), ignore_eos=True),
        Sampling(temperature=0, max_tokens=CONTEXT),
        Sampling(temperature=0, max_tokens=40, repetition_penalty=1.3, presence_penalty=0.5, frequency_penalty=0.2),
    ):
        ours, theirs = by_key(native.generate(prompts, sampling)), by_key(engine.generate(prompts, sampling))
        assert {key: (c.token_ids, c.finish_reason) for key, c in theirs.items()} == {
            key: (c.token_ids, c.finish_reason) for key, c in ours.items()
        }
        assert all(len(c.logprobs) == len(c.token_ids) for c in theirs.values())


def test_a_cancelled_prompt_says_what_it_has_said(engine: VLLMEngine) -> None:
    prompts = some_prompts(3, engine.vocab)
    running = engine.generate(prompts, Sampling(n=8, max_tokens=200, stop_token_ids=(7,)))
    first = next(running)
    other = next(p.key for p in prompts if p.key != first.key)
    engine.cancel(other)
    engine.cancel("nobody")
    rest = list(running)
    ended = [c for c in rest if c.finish_reason == "cancelled"]
    assert ended
    assert {c.key for c in ended} == {other}
    assert all(len(c.token_ids) < 200 for c in ended)


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        (Prompt("p", ()), "empty"),
        (Prompt("p", (1,) * CONTEXT), "leaves no room"),
        (Prompt("p", (1, 100_000)), "outside the model's vocabulary"),
    ],
)
def test_a_prompt_it_cannot_run_is_refused_before_it_is_sent(engine: VLLMEngine, prompt: Prompt, said: str) -> None:
    with pytest.raises(EngineError, match=said):
        list(engine.generate([prompt], Sampling()))


def test_a_modules_new_weights_are_served_without_a_restart(
    engine: VLLMEngine, tokenizer: PreTrainedTokenizerBase
) -> None:
    for version in (1, 2):
        new = served(tokenizer, version)
        engine.load_weights(new, version=version)
        completions = list(engine.generate(some_prompts(4, engine.vocab), Sampling(max_tokens=8)))
        assert {c.weights_version for c in completions} == {version}
        assert parity(engine, new, [c.prompt_ids + c.token_ids for c in completions]).holds(1e-4)
    assert [(proof.how, proof.version, proof.ok) for proof in engine.proofs] == [
        ("endpoint", 1, True),
        ("endpoint", 2, True),
    ]
    assert engine.proofs[-1].moved > 0.01


def test_a_reload_that_serves_wrong_weights_is_found_out(
    engine: VLLMEngine, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    """The CPU build answers 200 to a reload of tied embeddings, and then serves the old output projection."""
    new = served(tokenizer, 3)
    new.save_pretrained(tmp_path / "new")
    engine.load_weights(Checkpoint(tmp_path / "new"), version=3)
    endpoint, restart = engine.proofs[-2:]
    assert (endpoint.how, endpoint.ok) == ("endpoint", False)
    assert endpoint.mean > 0.01 < endpoint.moved
    assert (restart.how, restart.ok) == ("restart", True)
    assert restart.max <= 1e-4
    completions = list(engine.generate(some_prompts(4, engine.vocab), Sampling(max_tokens=8)))
    assert {c.weights_version for c in completions} == {3}
    assert parity(engine, new, [c.prompt_ids + c.token_ids for c in completions]).holds(1e-4)


def kill_in_the_middle(engine: VLLMEngine, sampling: Sampling, name: str) -> Iterator[Completion]:
    """Generates, and kills a process of the server, -9, when the first sample has come."""
    server = engine.replicas[0].server
    assert server is not None
    for number, completion in enumerate(engine.generate(some_prompts(24, engine.vocab), sampling)):
        if number == 0:
            family = psutil.Process(server.process.pid).children(recursive=True)
            victim = next(p for p in family if name in " ".join([p.name(), *p.cmdline()]))
            os.kill(victim.pid, signal.SIGKILL)
        yield completion


def test_a_killed_server_is_started_again_and_nothing_is_lost_or_doubled(engine: VLLMEngine) -> None:
    sampling = Sampling(n=2, max_tokens=64)
    undisturbed = by_key(engine.generate(some_prompts(24, engine.vocab), sampling))
    disturbed = by_key(kill_in_the_middle(engine, sampling, "api_server"))
    assert engine.restarts == 1
    assert {key: c.token_ids for key, c in disturbed.items()} == {key: c.token_ids for key, c in undisturbed.items()}
    assert engine.proofs[-1].ok
    assert engine.proofs[-1].how == "restart"


def test_a_killed_server_is_an_error_where_that_is_asked_for_and_leaves_nothing(engine: VLLMEngine) -> None:
    engine.serving.config = engine.config.model_copy(update={"on_loss": "error"})
    server, root = engine.replicas[0].server, engine.folders.root
    assert server is not None
    family = psutil.Process(server.process.pid).children(recursive=True)
    with pytest.raises(EngineError, match=r"(?s)was lost with \d+ requests unfinished.*vllm.on_loss: restart"):
        list(kill_in_the_middle(engine, Sampling(n=2, max_tokens=64), "EngineCore"))
    engine.close()
    assert not [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    assert not root.exists()


def shaken(module: torch.nn.Module, seed: int) -> None:
    """Another adapter: both of its matrices random, so that it does something."""
    draw = torch.Generator().manual_seed(seed)
    for name, value in module.named_parameters():
        if "lora_" in name:
            value.data = 0.1 * torch.randn(value.shape, generator=draw)


@pytest.mark.filterwarnings("ignore::FutureWarning:transformers.*")
def test_a_lora_adapter_is_served_beside_its_base_and_brought_up_to_date(
    tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    pytest.importorskip("peft", reason="peft is not installed: pip install 'posttrain[lora]'")
    needs_vllm()
    adapted = served(tokenizer, 0)
    add_lora(adapted, LoraConfig(rank=4, alpha=8), seed=0)  # inside the model, as reinforcement learning has them
    shaken(adapted, 0)
    sampling = Sampling(n=2, max_tokens=16)
    with closing(VLLMEngine(adapted, folder=tmp_path, config=VLLMConfig(extra_args=EAGER))) as engine:
        for version in (1, 2):
            shaken(adapted, version)
            engine.load_weights(adapted, version)
            assert sampled_parity(engine, adapted, some_prompts(4, engine.vocab), sampling).holds(1e-4)
        assert [(p.how, p.version, p.ok) for p in engine.proofs] == [("adapter", v, True) for v in (0, 1, 2)]
        assert engine.proofs[-1].moved > 0.01
        server = engine.replicas[0].server
        assert server is not None
        family = psutil.Process(server.process.pid).children(recursive=True)
        os.kill(server.process.pid, signal.SIGTERM)  # the watchdog: the server ends with it
        psutil.wait_procs(family, timeout=60)  # else eight short answers may come before the end
        again = list(engine.generate(some_prompts(4, engine.vocab), sampling))
        assert (len(again), engine.restarts, engine.proofs[-1].ok) == (8, 1, True)
        assert parity(engine, adapted, [c.prompt_ids + c.token_ids for c in again]).holds(1e-4)
