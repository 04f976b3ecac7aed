"""Joining a Ray cluster, or starting a local one; and what it can hold."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray
from ray._raylet import Config  # type: ignore[attr-defined]

from raysft.runtime.address import check_address

LEAST_CPUS = 8  # logical; with fewer, Ray Data's operators and actor pools wait for each other


@dataclass(frozen=True)
class Capacity:
    """CPUs and GPUs of a cluster, of its largest node, and, where they are known, of each node."""

    cpus: float
    gpus: float
    node_cpus: float
    node_gpus: float
    where: str
    nodes: tuple[tuple[float, float], ...] = ()


def local_capacity() -> Capacity:
    """What a local Ray would be started with: at least LEAST_CPUS logical CPUs, all GPUs."""
    import torch

    cpus = float(max(LEAST_CPUS, os.cpu_count() or 1))
    gpus = float(torch.cuda.device_count())
    return Capacity(cpus, gpus, cpus, gpus, "a local Ray", ((cpus, gpus),))


def capacity() -> Capacity:
    """What the joined cluster has now."""
    nodes = [n["Resources"] for n in ray.nodes() if n["Alive"]]
    total = ray.cluster_resources()
    return Capacity(
        total.get("CPU", 0.0),
        total.get("GPU", 0.0),
        max((n.get("CPU", 0.0) for n in nodes), default=0.0),
        max((n.get("GPU", 0.0) for n in nodes), default=0.0),
        "the cluster",
        tuple((n.get("CPU", 0.0), n.get("GPU", 0.0)) for n in nodes),
    )


@contextmanager
def connected(address: str | None) -> Iterator[Capacity]:
    """Join the cluster at `address` (or RAY_ADDRESS), else start a local Ray and stop it at the end.

    Raises:
        NoRay: there is an address and no Ray answers there.
    """
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # On Linux, Ray takes 127.0.0.1 for a mistake and listens on the outer address, but for this switch.
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    address = address or os.environ.get("RAY_ADDRESS")
    joined_here = not ray.is_initialized()
    if joined_here and address:
        check_address(address)
    if joined_here:
        options: dict[str, Any] = {
            "log_to_driver": False,
            "logging_level": logging.ERROR,
            "configure_logging": False,
        }
        if not address:
            _use_a_token()
            size = local_capacity()
            options |= {"num_cpus": int(size.cpus), "include_dashboard": False}
        with _sigterm_kept():
            ray.init(address=address or "local", **options)
    _quiet_ray_data()
    try:
        yield capacity()
    finally:
        if joined_here:
            ray.shutdown()


@contextmanager
def _sigterm_kept() -> Iterator[None]:
    """Ray's own handler, which `ray.init` sets, would end the process before a run can say it was stopped."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)


def _use_a_token() -> None:
    """Token authentication for a local Ray, with a token of its own, unless the environment says."""
    if "RAY_AUTH_MODE" not in os.environ:
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
        Config.initialize("")


def _quiet_ray_data() -> None:
    """One progress view is ours; Ray's own go to its log files. One block stays one work shard. An error of
    our own code arrives as itself."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.target_max_block_size = None
    context.print_on_execution_start = False
    context.raise_original_map_exception = True
    for name in ("ray.data", "ray.train", "ray"):
        logger = logging.getLogger(name)
        for handler in [h for h in logger.handlers if "Plain" in type(h).__name__]:
            logger.removeHandler(handler)
