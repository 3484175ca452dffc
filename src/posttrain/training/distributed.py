"""One model trained by several processes: Accelerate's DDP, FSDP2 and DeepSpeed behind the few calls a loop makes.

Each rank takes its share of a step's sequences; denominators are global, so the sum over ranks is the gradient that one
process would have. Frameworks average over ranks, hence the factor `size` on every loss. In one process (the default)
every call here is the plain one and nothing of this is imported.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from posttrain.errors import MissingExtraError, RecipeError
from posttrain.training.config import SHARDED, LaunchConfig, TrainingConfig

if TYPE_CHECKING:
    from transformers import PreTrainedModel

T = TypeVar("T")
S = TypeVar("S", bound="Sequenced")
PATIENCE = datetime.timedelta(hours=12)  # rank 0 may evaluate while the others wait; a dead rank is noticed otherwise


class Sequenced(Protocol):
    """Anything with token ids."""

    @property
    def ids(self) -> Sequence[int]: ...


class _Within(nn.Module):
    """Runs any function of the model inside a forward pass, where frameworks have their hooks."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.kind: type[Any] | None = None
        self._no_split_modules = list(getattr(model, "_no_split_modules", None) or [])  # Accelerate cuts at these

    def forward(self, function: Callable[..., Any], arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
        made = function(self.model, *arguments, **options)
        if not dataclasses.is_dataclass(made):
            self.kind = None
            return made
        # Hooks look for tensors in tuples, and not in dataclasses.
        self.kind = type(made) if not isinstance(made, type) else None
        return tuple(getattr(made, f.name) for f in dataclasses.fields(made))


class Ranks:
    """This process among those that train one model. `Ranks()` is the only one."""

    def __init__(self, launch: LaunchConfig | None = None, accelerator: Any = None) -> None:
        self.launch = launch or LaunchConfig()
        self.accelerator = accelerator
        self.rank: int = accelerator.process_index if accelerator is not None else 0
        self.size: int = accelerator.num_processes if accelerator is not None else 1
        assert self.size == self.launch.world
        self._within: Any = None

    @property
    def first(self) -> bool:
        """Whether this is the one that writes, prints and evaluates."""
        return self.rank == 0

    @property
    def strategy(self) -> str:
        """ddp, fsdp2, zero2 or zero3; "one" for a single process."""
        return self.launch.strategy if self.size > 1 else "one"

    @property
    def sharded(self) -> bool:
        """Whether each rank holds a part of the weights only."""
        return self.strategy in SHARDED

    @property
    def apart(self) -> bool:
        """Whether what samples needs a copy: weights are in parts, or hooks (DeepSpeed's) take any gradient for the
        step's."""
        return self.sharded or self.deepspeed

    @property
    def deepspeed(self) -> bool:
        """Whether DeepSpeed's engine owns the optimizer."""
        return self.strategy in ("zero2", "zero3")

    def wrap(self, model: PreTrainedModel, optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
        """Distributes model and optimizer, in place; returns the optimizer whose state counts."""
        if self.size == 1:
            return optimizer
        within = _Within(model)
        if self.deepspeed:
            self._within, wrapped = self.accelerator.prepare(within, optimizer)
            if self.strategy == "zero3":
                from deepspeed.runtime.zero import register_external_parameter

                # The loss reads the output projection's weight itself, which ZeRO-3 gathers only for its own module.
                register_external_parameter(within, model.get_output_embeddings().weight)
            inner: torch.optim.Optimizer = wrapped.optimizer
            return inner
        self._within, _ = self.accelerator.prepare(within, optimizer)
        return optimizer

    def call(self, function: Callable[..., T], model: nn.Module, *arguments: Any, **options: Any) -> T:
        """function(model, *arguments, **options), inside the distributed forward pass."""
        if self._within is None:
            return function(model, *arguments, **options)
        made = self._within(function, arguments, options)
        kind = getattr(self._within, "module", self._within).kind
        result: T = kind(*made) if kind is not None else made
        return result

    @contextlib.contextmanager
    def syncing(self, last: bool) -> Iterator[None]:
        """Around forward and backward of a micro-batch: gradients travel with the last one (ddp), or with each."""
        if self.strategy == "ddp" and not last:
            with self.accelerator.no_sync(self._within):
                yield
            return
        if self.deepspeed:
            self._within.set_gradient_accumulation_boundary(last)
        yield

    def backward(self, loss: Tensor) -> None:
        """Adds the gradient of the *global* loss, of which `loss` is this rank's part."""
        if self.deepspeed:
            self._within.backward(loss * self.size)
        else:
            (loss * self.size if self.size > 1 else loss).backward()  # type: ignore[no-untyped-call]

    def share(self, sequences: Sequence[S]) -> tuple[list[S], bool]:
        """(this rank's sequences, whether they count). Long and short ones are dealt out evenly.

        A rank that gets none borrows one, which does not count: it must still take part in the forward pass.
        """
        if self.size == 1:
            return list(sequences), True
        order = sorted(range(len(sequences)), key=lambda i: (-len(sequences[i].ids), i))
        mine = [sequences[i] for i in sorted(order[self.rank :: self.size])]
        return (mine, True) if mine else ([sequences[0]], False)

    def total(self, values: Sequence[float]) -> list[float]:
        """Sums over ranks, in float64."""
        return list(values) if self.size == 1 else self._reduced(values, torch.distributed.ReduceOp.SUM)

    def most(self, value: int) -> int:
        """The largest of the ranks' values: how many micro-batches everyone must run."""
        return int(self.largest(value))

    def largest(self, value: float) -> float:
        """The largest of the ranks' values."""
        return value if self.size == 1 else self._reduced([value], torch.distributed.ReduceOp.MAX)[0]

    def agree(self, flag: bool) -> bool:
        """What rank 0 says."""
        return (
            flag
            if self.size == 1
            else bool(self._reduced([float(flag and self.first)], torch.distributed.ReduceOp.SUM)[0])
        )

    def wait(self) -> None:
        """Until all ranks are here."""
        if self.size > 1:
            self.total([0.0])

    def _reduced(self, values: Sequence[float], how: Any) -> list[float]:
        # Through float64 on the host where gloo is at hand; NCCL takes the device's tensors.
        tensor = torch.tensor(list(values), dtype=torch.float64, device=self.accelerator.device)
        torch.distributed.all_reduce(tensor, how)
        result: list[float] = tensor.tolist()
        return result

    def clip(self, parameters: Sequence[nn.Parameter], largest: float) -> float:
        """Clips the norm of the whole gradient over all ranks; returns it as it was before."""
        norm = torch.nn.utils.clip_grad_norm_(parameters, largest)
        return float(whole(norm))

    def step(self, optimizer: torch.optim.Optimizer) -> float | None:
        """Moves the weights and forgets the gradient. DeepSpeed clips here and tells the norm only then."""
        if self.deepspeed:
            self._within.step()
            norm = self._within.get_global_grad_norm()
            return float(norm) if norm is not None else None
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return None

    def weights(self, model: nn.Module) -> dict[str, Tensor] | None:
        """The whole weights on the host, on rank 0; None where the module itself is sampled. All ranks must call."""
        if not self.apart:
            return None
        seen: dict[int, Tensor] = {}
        found = {}
        for name, tensor in model.state_dict(keep_vars=True).items():
            if id(tensor) not in seen:  # tied weights stay one tensor
                seen[id(tensor)] = _gathered(tensor) if self.strategy == "zero3" else whole(tensor)
            found[name] = seen[id(tensor)]
        return found


def whole(tensor: Any) -> Tensor:
    """A tensor that is cut in parts over ranks, whole on the host (all ranks must call); another one as it is."""
    if not hasattr(tensor, "full_tensor"):
        plain: Tensor = tensor.detach()
        return plain
    part = tensor.detach()
    if part.device.type != part.device_mesh.device_type:  # offloaded: parts travel between devices only
        part = part.to(part.device_mesh.device_type)
    full: Tensor = part.full_tensor()
    return full.cpu()


def cut_like(full: Tensor, like: Any) -> Tensor:
    """The part of `full` that this rank holds of `like`; `full` itself where nothing is cut."""
    if not hasattr(like, "full_tensor"):
        return full
    from torch.distributed.tensor import distribute_tensor

    mesh = like.device_mesh
    return distribute_tensor(full.to(mesh.device_type), mesh, like.placements)


def _gathered(parameter: Any) -> Tensor:
    from deepspeed.runtime.zero import GatheredParameters

    with GatheredParameters([parameter]):
        copy: Tensor = parameter.detach().cpu().clone()
    return copy


def meet(job: Mapping[str, Any], rank: int, world: int) -> None:
    """The process group of a launch's ranks, which Accelerate and DeepSpeed then find.

    Addresses are exchanged under the attempt's name: the first rank's process may have an earlier attempt's store on
    that port, with addresses that nobody answers any more.
    """
    from torch.distributed import PrefixStore, TCPStore, init_process_group  # type: ignore[attr-defined]

    where = (job["address"], int(job["port"]))
    store = TCPStore(*where, world, rank == 0, PATIENCE, wait_for_workers=False, multi_tenant=True)
    init_process_group(
        "gloo" if job["device"] == "cpu" else "nccl",
        store=PrefixStore(job["attempt"], store),
        rank=rank,
        world_size=world,
        timeout=PATIENCE,
    )


def leave() -> None:
    """Ends what `meet` made. What DeepSpeed keeps of a stage for the life of a process, other ranks of the next one,
    which are new processes, would not have: its groups, and the numbers of modules and weights that ranks compare."""
    comm = sys.modules.get("deepspeed.comm")
    if comm is not None and comm.is_initialized():
        comm.destroy_process_group()
    offload = sys.modules.get("deepspeed.runtime.zero.parameter_offload")
    if offload is not None:
        offload.DeepSpeedZeRoOffload._register_deepspeed_module.__defaults__[0][0] = 0
        sys.modules["deepspeed.runtime.zero.partition_parameters"].Init.param_id = 0
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def check_installed(launch: LaunchConfig) -> None:
    """MissingExtraError where this machine lacks what the block needs."""
    if importlib.util.find_spec("accelerate") is None:
        raise MissingExtraError(
            "several processes need the `accelerate` library. Install it: pip install 'posttrain[distributed]'"
        )
    if launch.strategy in ("zero2", "zero3") and importlib.util.find_spec("deepspeed") is None:
        raise MissingExtraError(
            f"launch.strategy {launch.strategy} needs DeepSpeed. Install it: "
            "pip install 'posttrain[deepspeed]', or use fsdp2"
        )


def make_accelerator(config: TrainingConfig, device: str) -> Any:
    """Accelerate's object for this rank, in the process group that stands."""
    from accelerate import Accelerator, InitProcessGroupKwargs
    from accelerate.utils import DistributedType

    launch, on_cpu = config.launch, device == "cpu"
    # Without the name of its backend, Accelerate takes a process on a machine without GPUs for the only one.
    group = InitProcessGroupKwargs(backend="gloo" if on_cpu else "nccl", timeout=PATIENCE)
    if launch.strategy in ("zero2", "zero3"):
        accelerator = Accelerator(cpu=False, deepspeed_plugin=_zero(config), kwargs_handlers=[group])
        if config.starts_whole:
            from transformers.integrations import unset_hf_deepspeed_config

            unset_hf_deepspeed_config()  # else weights are cut in parts as they are read
        return accelerator
    plugin = _fsdp2(launch, on_cpu) if launch.strategy == "fsdp2" else None
    accelerator = Accelerator(cpu=on_cpu, fsdp_plugin=plugin, kwargs_handlers=[group])
    if plugin is not None and on_cpu:
        # Accelerate itself switches FSDP on for GPUs only; the same code runs on the CPU once its state says so.
        accelerator.state.distributed_type = DistributedType.FSDP
        accelerator.state.fsdp_plugin = plugin
    return accelerator


def _fsdp2(launch: LaunchConfig, on_cpu: bool) -> Any:
    from accelerate import FullyShardedDataParallelPlugin
    from torch.distributed.fsdp import CPUOffloadPolicy

    return FullyShardedDataParallelPlugin(
        fsdp_version=2,
        reshard_after_forward=True,
        auto_wrap_policy="transformer_based_wrap",
        cpu_ram_efficient_loading=False,  # would part tied embeddings
        cpu_offload=CPUOffloadPolicy(pin_memory=not on_cpu) if launch.offload else False,
        state_dict_type="FULL_STATE_DICT",
    )


def _zero(config: TrainingConfig) -> Any:
    from accelerate import DeepSpeedPlugin

    if config.optimizer.name != "adamw":
        raise RecipeError(
            f"optimizer.name {config.optimizer.name!r} is not for {config.launch.strategy}: DeepSpeed cuts AdamW in "
            "parts. Use adamw, or launch.strategy: ddp."
        )
    place = {"device": "cpu" if config.launch.offload else "none"}
    settings: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": 1,  # we count tokens ourselves
        "gradient_accumulation_steps": 1,
        "gradient_clipping": config.optimizer.clip,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "zero_optimization": {"stage": 2 if config.launch.strategy == "zero2" else 3, "offload_optimizer": place},
    }
    if config.launch.strategy == "zero3":
        settings["zero_optimization"]["offload_param"] = place
    return DeepSpeedPlugin(hf_ds_config=settings)
