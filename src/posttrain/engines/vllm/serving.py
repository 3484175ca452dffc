"""Which weights the replicas serve: handed over, proven, and handed over again where a server was lost."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from torch import nn

from posttrain.engines.vllm.client import Client
from posttrain.engines.vllm.config import VLLMConfig
from posttrain.engines.vllm.dispatch import Replica
from posttrain.engines.vllm.server import NAME
from posttrain.engines.vllm.weights import (
    Canary,
    How,
    Proof,
    WeightFolders,
    is_adapted,
    save_adapter,
    wrong_weights,
)
from posttrain.errors import EngineError
from posttrain.hub import resolve_model
from posttrain.models import load_model
from posttrain.models.base import is_adapter
from posttrain.store import Checkpoint


class Serving:
    """The replicas of one model, and what they serve.

    proofs: of every weight update, the failed ones too. restarts: of servers that were lost. model: what requests name.
    """

    def __init__(
        self, replicas: Sequence[Replica], folders: WeightFolders, canary: Canary, config: VLLMConfig, dtype: str
    ) -> None:
        self.replicas, self.folders, self.canary, self.config, self.dtype = replicas, folders, canary, config, dtype
        self.proofs: list[Proof] = []
        self.restarts = 0
        self.version = 0
        self.model = NAME
        self._adapter: Path | None = None
        self._endpoint_trusted = config.reload != "restart"

    def start(self, source: Checkpoint | nn.Module) -> None:
        """Starts every replica on `source`; a module's weights are proven. Errors as those of Server and of `load`."""
        if isinstance(source, Checkpoint):
            self.folders.keep(resolve_model(source.ref, source.revision))
            self._start_all()
            return
        self.folders.keep(self.folders.write(source, 0))
        self.canary.expect(source)
        self._start_all()
        if is_adapted(source):
            self._load_adapter(source, 0)
            return
        proof = self._prove(0, "start")
        if not proof.ok:
            raise wrong_weights(proof, self.canary.tolerance, "vLLM may not support this model as transformers does.")

    def load(self, source: Checkpoint | nn.Module, version: int) -> None:
        """Returns when `source` is proven to be served. EngineError, with the numbers, where it is not."""
        if isinstance(source, nn.Module) and is_adapted(source):
            self.canary.expect(source)
            self._load_adapter(source, version)
            return
        if isinstance(source, Checkpoint):
            module: nn.Module = load_model(source.ref, revision=source.revision, dtype=self.dtype)
            folder = resolve_model(source.ref, source.revision)
            if is_adapter(folder):
                folder = self.folders.write(module, version)
        else:
            module = source
            folder = self.folders.write(module, version)
        self.canary.expect(module)
        if not (self._endpoint_trusted and self._by_endpoint(folder, version)):
            self._by_restart(folder, version)
        self.folders.keep(folder)
        self.version = version

    def _by_endpoint(self, folder: Path, version: int) -> bool:
        """Whether the servers now serve `folder`. Where nothing but the endpoint is allowed, EngineError if not."""
        try:
            for replica in self.replicas:
                _reload(replica, folder, self.config.request_timeout)
            proof = self._prove(version, "endpoint")
        except EngineError as error:
            if self.config.reload == "endpoint":
                raise
            lost = self._lost(error)
            self.restarts += len(lost)
            self._endpoint_trusted = bool(lost)  # a death says nothing about the endpoint
            return False
        if not proof.ok and self.config.reload == "endpoint":
            raise wrong_weights(proof, self.canary.tolerance, "Set vllm.reload: auto or restart.")
        self._endpoint_trusted = proof.ok
        return proof.ok

    def _by_restart(self, folder: Path, version: int) -> None:
        self.folders.keep(folder)
        self._start_all()
        proof = self._prove(version, "restart")
        if not proof.ok:
            raise wrong_weights(proof, self.canary.tolerance, "vLLM may not support this model as transformers does.")

    def _load_adapter(self, module: nn.Module, version: int) -> None:
        """The base stays; the adapter is loaded under a name of its own, so that no cached text is mistaken for its."""
        folder = self.folders.root / f"adapter-{version:06d}"
        shutil.rmtree(folder, ignore_errors=True)
        save_adapter(module, folder)
        before, old, name = self._adapter, self.model, f"{NAME}-{version:06d}"
        for replica in self.replicas:
            self._hand_over(replica, name, folder, old if before is not None else None)
        self._adapter, self.model = folder, name
        proof = self._prove(version, "adapter")
        if not proof.ok:
            remedy = "Merge the adapter into the model, or use the native engine."
            raise wrong_weights(proof, self.canary.tolerance, remedy)
        if before is not None and before != folder:
            shutil.rmtree(before, ignore_errors=True)
        self.version = version

    def _hand_over(self, replica: Replica, name: str, folder: Path, old: str | None) -> None:
        """The adapter under `name` in place of `old`; a server that has died since the last round is started again."""
        load = {"lora_name": name, "lora_path": str(folder)}
        try:
            if old is not None:
                replica.post("/v1/unload_lora_adapter", {"lora_name": old})
            replica.post("/v1/load_lora_adapter", load)
        except EngineError as error:
            if replica not in self._lost(error):
                raise
            assert self.folders.current is not None
            replica.start(self.folders.current)
            self.restarts += 1
            replica.post("/v1/load_lora_adapter", load)

    def _lost(self, error: EngineError) -> list[Replica]:
        """The replicas that have died while they were given weights. EngineError where that is to end the run."""
        dead = [replica for replica in self.replicas if replica.is_dead()]
        if dead and self.config.on_loss == "error":
            raise EngineError(f"{error}\nRun again, or set vllm.on_loss: restart to start it again.") from error
        return dead

    def recover(self, replica: Replica, error: str, unfinished: int) -> None:
        """A dead replica: stop with an error, or start it again on the weights it had, proven where they were."""
        if self.config.on_loss == "error":
            raise EngineError(
                f"vLLM replica {replica.number} was lost with {unfinished} requests unfinished ({error}). "
                f"{replica.last_words()}\n"
                "Run again, or set vllm.on_loss: restart to start it again and repeat them."
            )
        assert self.folders.current is not None
        replica.start(self.folders.current)
        self.restarts += 1
        if self._adapter is not None:
            replica.post("/v1/load_lora_adapter", {"lora_name": self.model, "lora_path": str(self._adapter)})
        if self.canary.expected is not None:
            proof = self._check(replica, self.version, "restart")
            self.proofs.append(proof)
            if not proof.ok:
                raise wrong_weights(proof, self.canary.tolerance, "It was started again after it had died.")

    def scoring(self, ids: tuple[int, ...]) -> Callable[[Client], Any]:
        """The request for the log-probabilities of `ids`."""
        return functools.partial(Client.score, sequence=ids, model=self.model, context=self.canary.context)

    def _start_all(self) -> None:
        assert self.folders.current is not None
        start = functools.partial(Replica.start, model=self.folders.current)
        with ThreadPoolExecutor(len(self.replicas)) as pool:
            list(pool.map(start, self.replicas))

    def _prove(self, version: int, how: How) -> Proof:
        """The worst proof over the replicas; it is kept in `proofs`."""
        proofs = [self._check(replica, version, how) for replica in self.replicas]
        worst = max(proofs, key=lambda proof: (not proof.ok, proof.max))
        self.proofs.append(worst)
        return worst

    def _check(self, replica: Replica, version: int, how: How) -> Proof:
        served = [v for s in self.canary.sequences for v in replica.ask(self.scoring(s))]
        return self.canary.check(served, version, how)


def _reload(replica: Replica, folder: Path, seconds: float) -> None:
    """One operation: no requests, new weights, no memory of the old ones. EngineError where a part of it fails."""
    replica.post("/pause", mode="abort")
    reload = {"method": "reload_weights", "kwargs": {"weights_path": str(folder)}, "timeout": seconds}
    replica.post("/collective_rpc", reload)
    answer = replica.post("/reset_prefix_cache")
    if not (isinstance(answer, dict) and answer.get("success") is True):
        raise EngineError(
            f"vLLM replica {replica.number} kept the cache of the old weights (it answered {answer!r}). "
            "Set vllm.reload: restart."
        )
    replica.post("/resume")
