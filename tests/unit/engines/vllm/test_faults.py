"""What the engine does when its server fails, on a stand-in that fails on demand."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from click.testing import CliRunner
from tests.unit.engines.tiny import tiny
from tests.unit.engines.vllm.conftest import Opener
from tests.unit.engines.vllm.standin import tokens
from tests.unit.training.methods import make_base

from posttrain.cli.parity import parity
from posttrain.engines import Prompt, Sampling
from posttrain.engines.native.noise import sample_key
from posttrain.engines.vllm import VLLMConfig
from posttrain.engines.vllm.server import Launch, environment_variables, find_environment, gpus_of_replicas
from posttrain.errors import EngineError
from posttrain.models.config import LoraConfig
from posttrain.models.lora import add_lora

PROMPTS = [Prompt(f"p{i}", (1, 2, 3), seed=i) for i in range(10)]
SAMPLING = Sampling(n=2, max_tokens=8)


def everything() -> dict[tuple[str, int], tuple[int, ...]]:
    """What a server that never fails says."""
    return {(p.key, i): tuple(tokens(sample_key(p.seed, i) >> 1, 8)) for p in PROMPTS for i in range(2)}


def said(completions: Any) -> dict[tuple[str, int], tuple[int, ...]]:
    found = list(completions)
    named = {(c.key, c.index): c.token_ids for c in found}
    assert len(named) == len(found)
    return named


def test_a_missing_environment_says_how_to_make_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EngineError, match=r"nowhere/bin/python.*make vllm"):
        find_environment(VLLMConfig(env=str(tmp_path / "nowhere")))
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".venv-vllm" / "bin").mkdir(parents=True)
    (tmp_path / ".venv-vllm" / "bin" / "python").touch()
    with pytest.raises(EngineError, match=r"has no vLLM in it.*make vllm"):
        find_environment(VLLMConfig())


def test_a_taken_port_is_named_before_anything_is_started(opened: Opener) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(EngineError, match=rf"can't have port {port}.*vllm\.port"):
            opened(port=port)


def test_a_server_that_ends_while_starting_shows_its_first_error_and_its_last_lines(opened: Opener) -> None:
    words = "ValueError: head size 16 is not supported\nshutting down"
    with pytest.raises(EngineError, match=r"(?s)exit code 3.*first error: ValueError: head size 16.*shutting down"):
        opened({"exit": True, "say": words})


def test_a_server_that_never_becomes_healthy_is_given_up_and_ended(opened: Opener, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"(?s)not healthy after 3 s.*vllm\.startup_timeout.*loading shard 1"):
        opened({"never_healthy": True, "say": "loading shard 1"}, startup_timeout=3)
    assert not [p for p in psutil.process_iter(["cmdline"]) if str(tmp_path) in " ".join(p.info["cmdline"] or ())]


def test_a_server_that_dies_is_started_again_and_nothing_is_lost_or_doubled(opened: Opener, tmp_path: Path) -> None:
    engine = opened({"die": 7, "once": str(tmp_path / "once")})
    assert said(engine.generate(PROMPTS, SAMPLING)) == everything()
    assert engine.restarts == 1


def test_a_server_that_dies_is_an_error_with_its_log_where_that_is_asked_for(opened: Opener, tmp_path: Path) -> None:
    faults = {"die": 7, "once": str(tmp_path / "once"), "say": "RuntimeError: out of memory"}
    engine = opened(faults, on_loss="error")
    expected = r"(?s)lost with \d+ requests unfinished.*out of memory.*vllm\.on_loss: restart"
    with pytest.raises(EngineError, match=expected):
        list(engine.generate(PROMPTS, SAMPLING))


@pytest.mark.parametrize("fault", ["tear", "fail", "error_inside"])
def test_a_request_that_fails_on_a_healthy_server_is_repeated(opened: Opener, fault: str) -> None:
    engine = opened({fault: 7})
    assert said(engine.generate(PROMPTS, SAMPLING)) == everything()
    assert engine.restarts == 0


def test_a_silent_request_counts_as_lost_and_is_repeated(opened: Opener) -> None:
    engine = opened({"silent": 3}, request_timeout=1)
    assert said(engine.generate(PROMPTS, SAMPLING)) == everything()


def test_a_request_that_breaks_every_server_is_given_up(opened: Opener) -> None:
    engine = opened({"die": 1}, max_batch=1)
    with pytest.raises(EngineError, match="failed 4 times"):
        list(engine.generate(PROMPTS[:1], Sampling(max_tokens=8)))


def test_what_the_server_refuses_is_an_error_at_once(opened: Opener) -> None:
    with pytest.raises(EngineError, match=r"refused a request \(status 400\): too long"):
        list(opened({"refuse": 3}).generate(PROMPTS, SAMPLING))


def test_a_log_probability_that_is_no_number_is_an_error(opened: Opener) -> None:
    with pytest.raises(EngineError, match="logits are not finite"):
        list(opened({"nan": 3}).generate(PROMPTS, SAMPLING))


def test_replicas_share_the_work_and_one_that_dies_takes_nothing_with_it(opened: Opener, tmp_path: Path) -> None:
    engine = opened({"die": 5, "once": str(tmp_path / "once")}, replicas=2, max_batch=3)
    assert said(engine.generate(PROMPTS, SAMPLING)) == everything()
    assert len({replica.server.port for replica in engine.replicas if replica.server}) == 2


def test_prompts_are_pulled_only_as_places_free(opened: Opener) -> None:
    pulled = []

    def source() -> Any:
        for prompt in PROMPTS:
            pulled.append(prompt.key)
            yield prompt

    running = opened(max_batch=2).generate(source(), Sampling(max_tokens=8))
    next(running)
    assert len(pulled) <= 3
    running.close()


def test_weights_that_are_not_served_stop_the_engine_with_the_numbers(opened: Opener) -> None:
    """The stand-in answers 200 to every reload, and says -1 of every token whatever its weights."""
    engine = opened()
    with pytest.raises(EngineError, match=r"version 3 \(loaded by restart\).*124 tokens.*allowed is at most 0\.0001"):
        engine.load_weights(tiny("qwen2", seed=1), version=3)
    assert [(p.how, p.ok) for p in engine.proofs] == [("endpoint", False), ("restart", False)]
    with pytest.raises(EngineError, match="this engine has stopped"):
        next(engine.generate(PROMPTS, SAMPLING))


def test_a_cache_that_is_not_reset_is_no_update(opened: Opener) -> None:
    engine = opened({"resets": False}, reload="endpoint")
    with pytest.raises(EngineError, match="kept the cache of the old weights"):
        engine.load_weights(tiny("qwen2", seed=1), version=1)


def test_secrets_stay_here(opened: Opener, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    secrets = {"HF_TOKEN": "hf_x1", "OPENAI_API_KEY": "sk-x2", "AWS_SECRET_ACCESS_KEY": "x3", "DB_PASSWORD": "x4"}
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    opened({"environment": True})
    seen = json.loads((tmp_path / "logs" / "server-0.log").read_text(encoding="utf-8").splitlines()[0])
    assert not set(secrets) & set(seen)
    assert not set(secrets.values()) & set(seen.values())
    assert seen["VLLM_SERVER_DEV_MODE"] == "1"
    assert "TOKENIZERS_PARALLELISM" in environment_variables({"TOKENIZERS_PARALLELISM": "false"}, cpu=True, gpus=None)


def test_a_server_does_not_outlive_the_process_that_started_it(
    environment: Path, weights: Path, tmp_path: Path
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    program = f"""
import os, signal
from pathlib import Path
from posttrain.engines.vllm.server import Launch, Server, VLLMConfig, find_environment
config = VLLMConfig(env={str(environment)!r})
here = Path({str(tmp_path)!r})
launch = Launch(config, find_environment(config), "float32", 4, log=here / "log", scratch=here / "scratch")
print(Server(launch, Path({str(weights)!r})).process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    group = int(done.stdout)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and (_group(group) or scratch.exists()):
        time.sleep(0.1)
    assert not _group(group)
    assert not scratch.exists()


def _group(leader: int) -> list[int]:
    found = []
    for process in psutil.process_iter(["status"]):
        try:
            if os.getpgid(process.pid) == leader and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except ProcessLookupError:
            continue
    return found


def test_replicas_take_the_last_gpus_and_too_few_are_an_error() -> None:
    config = VLLMConfig(replicas=2, tensor_parallel=2)
    assert gpus_of_replicas(config, ["0", "1", "2", "3", "4"]) == ["1,2", "3,4"]
    with pytest.raises(EngineError, match=r"need 4, and this process sees 3.*vllm\.replicas"):
        gpus_of_replicas(config, ["0", "1", "2"])


def test_the_command_line_binds_this_machine_only_and_says_what_the_settings_say(environment: Path) -> None:
    config = VLLMConfig(env=str(environment), max_model_len=128, tensor_parallel=2, memory=0.4, sleep=True)
    found = find_environment(config)
    assert found.cpu
    gpu = dataclasses.replace(found, cpu=False)
    launch = Launch(config, gpu, "bfloat16", 7, log=Path("log"), scratch=Path("scratch"), lora_rank=12)
    command = " ".join(launch.command(Path("model"), 8001))
    for words in (
        "--host 127.0.0.1 --port 8001",
        "--logprobs-mode processed_logprobs",
        "--dtype bfloat16",
        "--max-num-seqs 7",
        "--tensor-parallel-size 2",
        "--max-model-len 128",
        "--gpu-memory-utilization 0.4",
        "--max-lora-rank 16",
        "--enable-lora --enable-sleep-mode",
    ):
        assert words in command
    cpu = " ".join(dataclasses.replace(launch, environment=found).command(Path("model"), 8001))
    assert "--gpu-memory" not in cpu
    assert "--enable-sleep-mode" not in cpu


def test_a_context_longer_than_the_models_is_refused(opened: Opener) -> None:
    with pytest.raises(EngineError, match=r"max_model_len is 4096.*256 tokens"):
        opened(max_model_len=4096)


def adapted() -> Any:
    """As training has it: the adapters stand inside the model."""
    pytest.importorskip("peft", reason="peft is not installed: pip install 'posttrain[lora]'")
    model = tiny("qwen2")
    add_lora(model, LoraConfig(rank=2, targets=["q_proj"]), seed=0)
    return model


ANYTHING = 1e9  # a tolerance under which the stand-in's -1 of every token will do


@pytest.mark.filterwarnings("ignore::FutureWarning:transformers.*")
@pytest.mark.parametrize(("at", "how"), [("/v1/load_lora_adapter", "adapter"), ("/collective_rpc", "restart")])
def test_a_server_that_dies_while_it_is_given_weights_is_started_again_on_them(
    opened: Opener, tmp_path: Path, at: str, how: str
) -> None:
    engine = opened({"die_at": at, "once": str(tmp_path / "once")}, tolerance=ANYTHING)
    engine.load_weights(adapted() if how == "adapter" else tiny("qwen2", seed=1), version=1)
    assert (tmp_path / "once").exists()
    assert [(p.how, p.version, p.ok) for p in engine.proofs] == [(how, 1, True)]
    assert engine.restarts == 1
    assert len(list(engine.generate(PROMPTS, SAMPLING))) == 20


@pytest.mark.filterwarnings("ignore::FutureWarning:transformers.*")
@pytest.mark.parametrize("at", ["/v1/load_lora_adapter", "/collective_rpc"])
def test_a_server_that_dies_while_it_is_given_weights_stops_the_engine_where_that_is_asked_for(
    opened: Opener, at: str
) -> None:
    engine = opened({"die_at": at}, tolerance=ANYTHING, on_loss="error")
    source = adapted() if "lora" in at else tiny("qwen2", seed=1)
    with pytest.raises(EngineError, match=r"(?s)replica 0 failed.*vllm\.on_loss: restart"):
        engine.load_weights(source, version=1)


def test_a_colocated_server_sleeps_while_others_work_and_is_woken_before_it_is_asked(
    opened: Opener, tmp_path: Path
) -> None:
    engine = opened({"record": str(tmp_path / "asked")}, sleep=True, tolerance=ANYTHING)
    for version in (1, 2):
        assert len(list(engine.generate(PROMPTS[:2], Sampling(max_tokens=4)))) == 2
        engine.load_weights(tiny("qwen2", seed=version), version)
    sampled = ["sample", "sample", "/sleep"]
    given = ["/wake_up", "/pause", "/collective_rpc", "/reset_prefix_cache", "/resume"]
    assert (tmp_path / "asked").read_text(encoding="utf-8").split() == [*sampled, *given, *sampled, *given]


def test_a_server_that_dies_in_its_sleep_is_started_again(opened: Opener, tmp_path: Path) -> None:
    engine = opened({"die_at": "/wake_up", "once": str(tmp_path / "once")}, sleep=True)
    for _ in range(2):
        assert said(engine.generate(PROMPTS, SAMPLING)) == everything()
    assert engine.restarts == 1


def test_parity_of_a_server_that_serves_other_weights_says_so(
    environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`posttrain parity --engine vllm`: the canary sees it before anything is sampled."""
    monkeypatch.setenv("POSTTRAIN_VLLM", str(environment))
    base = str(make_base(tmp_path / "base"))
    done = CliRunner().invoke(parity, [base, "--engine", "vllm", "--prompts", "2", "--tokens", "5"])
    assert isinstance(done.exception, EngineError)
    assert "does not serve the weights" in str(done.exception)
