"""A Ray address, looked at before Ray joins: `ray.init` waits for minutes for what is not there."""

from __future__ import annotations

import os
import re
import socket

ANSWER_S = 10
"""Seconds in which the machine must take a connection, and its GCS speak to us."""
FORMS = re.compile(r"(?:ray://)?(?P<host>\[[0-9a-fA-F:]+\]|[^\s:/]+):(?P<port>\d{1,5})")
BY_RAY = ("auto", "local")


class NoRay(ConnectionError):
    """There is no Ray at the address that was given."""


def check_address(address: str) -> None:
    """Return where a Ray seems to be at the address.

    Raises:
        NoRay: it is no address, nothing listens there, or what does is no Ray; one line.
    """
    if address in BY_RAY:
        return
    found = FORMS.fullmatch(address)
    if found is None or int(found["port"]) > 65_535:
        raise NoRay(
            f"the Ray address {address!r} is none; allowed: host:port of the head's GCS (6379 is usual), "
            "ray://host:port, or auto"
        )
    host, port = found["host"].strip("[]"), int(found["port"])
    try:
        socket.create_connection((host, port), timeout=ANSWER_S).close()
    except OSError as error:
        raise NoRay(
            f"no Ray at {address}: {(error.strerror or str(error)).lower()}; is the cluster up, and is this "
            "the address of its head?"
        ) from error
    if os.environ.get("RAY_USE_TLS", "0") in ("", "0") and not _speaks_grpc(f"{found['host']}:{port}"):
        raise NoRay(
            f"no Ray at {address}: something else listens there, or a Ray that has stopped answering; "
            "the GCS port is meant (6379 is usual), not the dashboard's (8265)"
        )


def _speaks_grpc(target: str) -> bool:
    import grpc

    with grpc.insecure_channel(target, options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=ANSWER_S)
        except grpc.FutureTimeoutError:
            return False
    return True
