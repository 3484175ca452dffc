"""The one place where Ray is started or connected to. A cluster that can't be reached is one message."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from typing import Any

from posttrain.cluster.ray.config import RayConfig
from posttrain.errors import ClusterError, MissingExtraError, RecipeError

TIMEOUT = 5.0  # seconds for a machine to answer at all


def import_ray() -> Any:
    """The library. MissingExtraError without it."""
    # Else a task without a GPU warns that it will one day see none, which is what it does already.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anybody
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError("launch: ray needs Ray, which is not installed: pip install posttrain[ray].") from error
    return ray


@contextlib.contextmanager
def connected(config: RayConfig) -> Iterator[Any]:
    """Yields the library, connected, and leaves the cluster in the end (one of our own is stopped).

    A program that has called ray.init itself keeps its connection. ClusterError for a cluster that can't be reached.
    """
    address = config.address or os.environ.get("RAY_ADDRESS")
    if address is not None and address != "auto":
        _knock(address)
        # Somebody listens. If it isn't Ray, one try of 40 seconds tells as much as its usual twenty.
        os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "1")
    ray = import_ray()
    if ray.is_initialized():
        yield ray
        return
    try:
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level="ERROR",
            include_dashboard=None if address else False,
            runtime_env={"env_vars": config.env} if config.env else None,
        )
    except (ConnectionError, TimeoutError, RuntimeError, ValueError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ClusterError(
            f"there is no Ray cluster at {address or 'this machine'}: {first} Start one (`ray start --head`; on the "
            "other machines `ray start --address=HOST:6379`), or leave ray.address out."
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Whether anybody listens there: Ray itself would try for minutes."""
    if address.startswith("ray://"):
        raise RecipeError(
            f"ray.address is {address!r}, which is for Ray's thin client. Run on a machine of the cluster and write "
            "ray.address=auto, or HOST:6379."
        )
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise RecipeError(f"ray.address is {address!r}. Write HOST:PORT (Ray's port is 6379), or auto.")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=TIMEOUT).close()
    except OSError as error:
        raise ClusterError(
            f"no Ray cluster answers at {address} ({error.strerror or error}). Is it running (`ray start --head`), and "
            "can this machine reach it? ray.address=auto finds the one that this machine belongs to."
        ) from error
