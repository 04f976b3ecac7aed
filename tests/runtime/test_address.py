"""Ray addresses that are none: told at once, with the cause, before Ray is asked."""

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from raysft.runtime import address
from raysft.runtime.address import NoRay, check_address


@pytest.fixture
def web_server() -> Iterator[str]:
    """The address of a server that is no Ray."""
    server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("text", ["rubbish", "host:", ":6379", "host:99999", "http://host:6379", "a b:1"])
def test_address_of_no_known_form_is_refused_with_the_forms(text: str) -> None:
    with pytest.raises(NoRay, match=r"allowed: host:port .* ray://host:port, or auto"):
        check_address(text)


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "ray://127.0.0.1:{}"])
def test_address_where_nothing_listens_tells_that_it_was_refused(form: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        text = form.format(free.getsockname()[1])
    with pytest.raises(NoRay, match=f"^no Ray at {text}: connection refused; .*head") as told:
        check_address(text)
    assert "\n" not in str(told.value)


def test_address_of_an_unknown_host_is_told_as_that() -> None:
    with pytest.raises(NoRay, match=r"^no Ray at no-such-host\.invalid:6379: "):
        check_address("no-such-host.invalid:6379")


def test_address_of_another_server_is_told_as_that(web_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address, "ANSWER_S", 1)
    with pytest.raises(NoRay, match="something else listens there"):
        check_address(web_server)


@pytest.mark.parametrize("text", ["auto", "local"])
def test_address_that_ray_looks_up_itself_is_left_to_it(text: str) -> None:
    check_address(text)
