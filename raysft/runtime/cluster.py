"""Joining a Ray cluster, or starting a local one; and what it can hold."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import ray
from ray._private.grpc_utils import init_grpc_channel
from ray._private.ray_constants import GLOBAL_GRPC_OPTIONS
from ray._private.services import resolve_ip_for_localhost
from ray._raylet import Config  # type: ignore[attr-defined]
from ray.core.generated.gcs_service_pb2 import GetClusterIdRequest
from ray.core.generated.gcs_service_pb2_grpc import NodeInfoGcsServiceStub

from raysft.runtime.autoscaling import HEAD, autoscaling_limits
from raysft.runtime.capacity import Capacity, Nodes

NODE_ID = "ray.io/node-id"  # a label that Ray gives to every node
ANSWERS_S = 5.0  # a head that runs takes a connection at once; Ray itself would try for two minutes and more
LEAST_CPUS = 8  # logical; with fewer, Ray Data's operators and actor pools wait for each other


class NoRay(ConnectionError):
    """There is no Ray at the address that was given, or none that takes us."""


def local_capacity() -> Capacity:
    """What a local Ray would be started with: at least LEAST_CPUS logical CPUs, all GPUs."""
    import torch

    cpus = float(max(LEAST_CPUS, os.cpu_count() or 1))
    return Capacity((Nodes(cpus, float(torch.cuda.device_count())),), "a local Ray")


def living_nodes() -> tuple[Nodes, ...]:
    """The nodes of the joined cluster that are alive now."""
    return tuple(
        Nodes(
            n["Resources"].get("CPU", 0.0),
            n["Resources"].get("GPU", 0.0),
            {name: value for name, value in n["Labels"].items() if name != NODE_ID},
        )
        for n in ray.nodes()
        if n["Alive"]
    )


def capacity() -> Capacity:
    """What the joined cluster has now, and what its autoscaler may add."""
    limits = autoscaling_limits()
    where = "the cluster at its largest" if limits.types else "the cluster"
    where += f" ({limits.unknown})" if limits.unknown else ""
    nodes = living_nodes()
    workers = sum(n["Alive"] and HEAD not in n["Resources"] for n in ray.nodes())
    return Capacity(nodes, where, limits.left(nodes), max(0, limits.max_workers - workers))


@contextmanager
def connected(address: str | None) -> Iterator[Capacity]:
    """Join the cluster at `address` (or RAY_ADDRESS), else start a local Ray and stop it at the end.

    Raises:
        NoRay: there is an address and no Ray answers there that takes us.
    """
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # On Linux, Ray takes 127.0.0.1 for a mistake and listens on the outer address, but for this switch.
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    address = address or os.environ.get("RAY_ADDRESS")
    joined_here = not ray.is_initialized()
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
        else:
            check_answers(address)
        with _sigterm_kept():
            ray.init(address=address or "local", **options)
    _quiet_ray_data()
    try:
        yield capacity()
    finally:
        if joined_here:
            ray.shutdown()


def check_answers(address: str) -> None:
    """Refuse an address that Ray would try in vain, for up to two minutes.

    Raises:
        NoRay: it is no address, nothing takes a connection there, what does is no Ray, or it does not take
            our token.
    """
    if address in ("auto", "local"):
        return
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isdigit():
        raise NoRay(f"Ray's address is {address!r}; allowed are HOST:PORT of a head node and auto")
    taken_for = resolve_ip_for_localhost(host)
    try:
        socket.create_connection((taken_for, int(port)), timeout=ANSWERS_S).close()
    except OSError as error:
        hint = ""
        if taken_for != host:
            hint = (
                f"; Ray takes {host} for {taken_for}: with RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0 in the "
                "environment (`source .ray/env`) it does not"
            )
        raise NoRay(
            f"no Ray answers at {address} ({error.strerror or error}): is the cluster up, and is this its "
            f"head node's port (6379 if not set otherwise)?{hint}"
        ) from None
    _check_is_ray(address, f"{taken_for}:{port}")


def _check_is_ray(address: str, taken_for: str) -> None:
    """One call of the head's own service, with our token."""
    try:
        channel = init_grpc_channel(taken_for, GLOBAL_GRPC_OPTIONS)
        with channel:
            NodeInfoGcsServiceStub(channel).GetClusterId(GetClusterIdRequest(), timeout=ANSWERS_S)
    except ray.exceptions.AuthenticationError as error:
        raise NoRay(f"Ray at {address}: {str(error).splitlines()[0]}") from None
    except grpc.RpcError as error:
        if error.code() is grpc.StatusCode.UNAUTHENTICATED:
            raise NoRay(
                f"Ray at {address} does not take our token: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or "
                "RAY_AUTH_TOKEN_PATH to the token that the cluster was started with"
            ) from None
        raise NoRay(
            f"what answers at {address} is no healthy Ray head ({error.code().name}: {error.details()}); "
            "its port is 6379 if not set otherwise, and not that of the dashboard"
        ) from None


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
