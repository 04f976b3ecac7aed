"""What the benchmarks of streaming rest on: stubs that take the time they should, and a proxy that counts."""

from __future__ import annotations

import http.client
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from benchmarks import object_operations, pipeline, stub_llm
from benchmarks.harness import BenchmarkError, Work
from benchmarks.object_operations import CountingProxy


def test_service_times_have_their_mean_and_a_long_tail() -> None:
    times = sorted(stub_llm.service_seconds("model", text) for text in stub_llm.texts(20_000))
    assert sum(times) / len(times) == pytest.approx(stub_llm.MEAN_SECONDS, rel=0.03)
    assert times[int(0.99 * len(times))] > 9 * times[len(times) // 2]
    assert times[-1] <= stub_llm.LONGEST * stub_llm.MEAN_SECONDS
    assert stub_llm.service_seconds("model", "a") != stub_llm.service_seconds("other", "a")


def test_stub_engine_serves_so_many_at_once_and_answers_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stub_llm, "SLOTS", 2)
    monkeypatch.setattr(stub_llm, "service_seconds", lambda model, text: 0.1)
    engine = stub_llm.StubEngine()
    started = time.monotonic()
    answers = engine.generate(stub_llm.requests(6))
    engine.close()
    assert time.monotonic() - started >= 0.3
    assert [a.outputs[0].text for a in answers] == [f"Answer to request {i}" for i in range(6)]


def test_same_work_of_a_lost_completion_is_refused() -> None:
    works = {name: Work("keys", {"completions": 2}) for name in ("raysft", "plain_loop", "ideal_feed")} | {
        name: Work("keys", {"completions": 2}) for name in ("raysft_feed", "raysft_killed")
    }
    assert "2 completions" in pipeline.same_work(works)
    with pytest.raises(BenchmarkError, match="outputs differ"):
        pipeline.same_work({**works, "raysft_killed": Work("other", {"completions": 1})})


class Store(BaseHTTPRequestHandler):
    """Has /bucket/there and nothing else; takes what is put."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(200 if "there" in self.path or "list-type" in self.path else 404)

    def do_PUT(self) -> None:
        size = int(self.headers["Content-Length"])
        self._answer(200 if self.rfile.read(size) == b"content" else 400)

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def proxy() -> Iterator[CountingProxy]:
    store = ThreadingHTTPServer(("127.0.0.1", 0), Store)
    front = CountingProxy(f"http://127.0.0.1:{store.server_port}")
    for server in (store, front):
        threading.Thread(target=server.serve_forever, daemon=True).start()
    yield front
    for server in (front, store):
        server.shutdown()
        server.server_close()


def test_counting_proxy_hands_on_and_counts_by_stage_kind_and_what_is_missing(proxy: CountingProxy) -> None:
    client = http.client.HTTPConnection("127.0.0.1", proxy.server_port, timeout=10)
    stage = "/bucket/runs/one/stages/02-respond-abcdef012345"
    asked = [
        ("GET", f"{stage}/shards/there.parquet", None),
        ("GET", f"{stage}/commits/00001.json", None),
        ("PUT", f"{stage}/commits/00001.json", b"content"),
        ("GET", f"/bucket?list-type=2&prefix={stage.removeprefix('/bucket/')}/commits/", None),
        ("PUT", "/bucket/runs/one/status.json", b"content"),
    ]
    answers = []
    for method, path, body in asked:
        client.request(method, path, body)
        response = client.getresponse()
        answers.append((response.status, response.read()))
    assert answers == [(200, b"ok"), (404, b"ok"), (200, b"ok"), (200, b"ok"), (200, b"ok")]
    assert object_operations.counted(proxy.seen) == {
        "respond": Counter({"get": 2, "put": 1, "list": 1, "missing": 1}),
        "run": Counter({"put": 1}),
    }


def test_slopes_of_two_sizes_tell_a_shards_part_from_the_runs() -> None:
    few = {"respond": Counter({"get": 8 * 5 + 3})}
    many = {"respond": Counter({"get": 24 * 5 + 3})}
    assert object_operations.slopes(few, many) == {
        "respond": {"a_shard": {"get": 5.0}, "a_run": {"get": 3.0}}
    }
