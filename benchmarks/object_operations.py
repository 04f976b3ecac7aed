"""How many operations on an object store a run needs, counted on the wire.

`python -m benchmarks.object_operations` writes benchmarks/results/object_operations.json; docs/scale.md goes
on from there.

A run with stub engines works on a real S3 server (OpenStack Swift, `make setup-swift`) through a proxy that
counts requests, once with few and once with more work shards of the same size. For each stage: operations a
run needs whatever its size, and a work shard, by kind.

    put, get, head, list, delete     as S3 prices them; a request for a part of an object is a get
    missing                          gets and heads that were answered with 404, counted above as well
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from benchmarks import harness

OUT = harness.HERE / "results" / "object_operations.json"
ROWS_PER_SHARD = 16
FEW, MANY = 8, 24
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "upgrade", "content-length"}


class CountingProxy(ThreadingHTTPServer):
    """Hands requests on to an S3 server and counts them by (method or "LIST", path, status)."""

    daemon_threads = True

    def __init__(self, endpoint: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.target = urlsplit(endpoint).netloc
        self.seen: Counter[tuple[str, str, int]] = Counter()
        self.lock = threading.Lock()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    """One connection of a client, and one to the server."""

    protocol_version = "HTTP/1.1"
    server: CountingProxy

    def forward(self) -> None:
        body = self._body()
        headers = {k: v for k, v in self.headers.items() if k.lower() not in HOP_BY_HOP}
        upstream = http.client.HTTPConnection(self.server.target, timeout=60)
        try:
            upstream.request(self.command, self.path, body, headers)
            answer = upstream.getresponse()
            content = answer.read()
        finally:
            upstream.close()
        self._count(answer.status)
        self.send_response(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
        self.send_header("Content-Length", length or "0")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = forward  # noqa: N815 - http.server's names

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", "").lower():
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _count(self, status: int) -> None:
        url = urlsplit(self.path)
        query = parse_qs(url.query)
        method, path = self.command, unquote(url.path)
        if method == "GET" and ("list-type" in query or "prefix" in query):
            method, path = "LIST", path.rstrip("/") + "/" + query.get("prefix", [""])[0]
        with self.server.lock:
            self.server.seen[method, path, status] += 1

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the counts are what is told."""


def stage_of(path: str) -> str:
    """The stage whose folder a path is in: "augment.respond", "acquire"; else "run"."""
    parts = path.split("/")
    if "stages" not in parts or parts.index("stages") + 1 >= len(parts):
        return "run"
    return parts[parts.index("stages") + 1].rsplit("-", 1)[0].split("-", 1)[-1] or "run"


def counted(seen: Mapping[tuple[str, str, int], int]) -> dict[str, Counter[str]]:
    """Operations by stage and kind."""
    found: dict[str, Counter[str]] = {}
    for (method, path, status), n in seen.items():
        kinds = found.setdefault(stage_of(path), Counter())
        kinds[method.lower()] += n
        if status == 404:
            kinds["missing"] += n
    return found


def operations(shards: int, proxy: CountingProxy, bucket: str) -> dict[str, Counter[str]]:
    """What a run over so many work shards asks of the store."""
    from benchmarks import stub_llm
    from benchmarks.runs import run_of
    from raysft.runtime.cluster import connected

    with tempfile.TemporaryDirectory(prefix="raysft-bench-") as folder, connected(None) as capacity:
        source = Path(folder) / "rows.jsonl"
        texts = stub_llm.texts(shards * ROWS_PER_SHARD)
        rows = ({"messages": [{"role": "user", "content": f"Please answer {t}"}]} for t in texts)
        source.write_text("".join(json.dumps(row) + "\n" for row in rows))
        engines: dict[str, Any] = {}
        for name, kind in (("llm", "vllm"), ("base", "transformers")):
            model = Path(folder) / name
            model.mkdir()
            (model / "config.json").write_text("{}")
            engines[name] = {"kind": kind, "model": str(model)}
        cut = {"rows_per_shard": ROWS_PER_SHARD}
        tree = {
            "run": f"shards-{shards}",
            "root": f"s3://{bucket}/runs",
            "engines": engines,
            "sources": [{"path": str(source)}],
            "stages": [
                {"augment.respond": {"engine": "llm", **cut}},
                {"curate.perplexity": {"engine": "base", **cut}},
                {"curate.rules": cut},
                {"curate.minhash_dedup": cut},
                {"curate.select": {"budget": 50, "diversity": "random", **cut}},
            ],
        }
        run = run_of(tree, capacity, stub_llm.Builder(folder))
        proxy.seen.clear()
        run.execute()
        with proxy.lock:
            return counted(proxy.seen)


def slopes(few: Mapping[str, Counter[str]], many: Mapping[str, Counter[str]]) -> dict[str, Any]:
    """By stage: operations a work shard, and of a run whatever its size."""
    told = {}
    for stage in sorted(many):
        kinds = sorted(set(many[stage]) | set(few.get(stage, Counter())))
        each = {k: (many[stage][k] - few.get(stage, Counter())[k]) / (MANY - FEW) for k in kinds}
        told[stage] = {
            "a_shard": {k: round(v, 2) for k, v in each.items()},
            "a_run": {k: round(many[stage][k] - each[k] * MANY, 1) for k in kinds},
        }
    return told


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.object_operations", description=__doc__)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args(argv)
    from tests.fixtures import swift

    with (
        tempfile.TemporaryDirectory(prefix="raysft-swift-") as folder,
        swift.serving(Path(folder)) as server,
    ):
        proxy = CountingProxy(server.endpoint)
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        try:
            os.environ.update(swift.variables(proxy.endpoint))
            bucket = swift.make_bucket()
            few, many = (operations(n, proxy, bucket) for n in (FEW, MANY))
        finally:
            proxy.shutdown()
    stages = slopes(few, many)
    result = {
        "name": "object_operations",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": harness.machine(),
        "work_shards": [FEW, MANY],
        "stages": stages,
    }
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    for stage, told in stages.items():
        print(f"{stage:<22} a shard {told['a_shard']}  a run {told['a_run']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
