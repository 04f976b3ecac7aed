"""Addresses of Ray that are wrong: refused at once, with the cause."""

from __future__ import annotations

import http.server
import socket
import threading

import pytest

from raysft.runtime import cluster
from raysft.runtime.cluster import NoRay, check_answers


@pytest.fixture(autouse=True)
def loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray takes loopback for the outer address where it was not told otherwise before it was imported."""
    monkeypatch.setattr(cluster, "resolve_ip_for_localhost", lambda host: host)


@pytest.mark.parametrize("address", ["cluster", "127.0.0.1", ":6379", "head:port", "http://head"])
def test_address_that_is_none_is_refused_with_what_is_allowed(address: str) -> None:
    with pytest.raises(NoRay, match="allowed are HOST:PORT of a head node and auto"):
        check_answers(address)


def test_address_where_nothing_listens_is_refused_with_the_cause() -> None:
    with socket.socket() as unused:
        unused.bind(("localhost", 0))
        port = unused.getsockname()[1]
        with pytest.raises(NoRay, match=rf"no Ray answers at localhost:{port} \(Connection refused\)"):
            check_answers(f"localhost:{port}")


def test_address_of_something_else_is_refused_with_what_it_said() -> None:
    server = http.server.HTTPServer(("localhost", 0), http.server.BaseHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with pytest.raises(NoRay, match="is no healthy Ray head"):
            check_answers(f"localhost:{server.server_port}")
    finally:
        server.shutdown()
        server.server_close()


def test_address_of_no_machine_is_refused_with_the_cause() -> None:
    with pytest.raises(NoRay, match=r"no Ray answers at head.invalid:6379 \("):
        check_answers("head.invalid:6379")


def test_address_that_ray_finds_itself_is_left_to_ray() -> None:
    check_answers("auto")
