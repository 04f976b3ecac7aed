"""A real Ray tells a run's counters to Prometheus: read from its own endpoint, after a run of a few rows."""

from __future__ import annotations

import re
import time
import urllib.request
from pathlib import Path

import ray

from raysft.runtime.cluster import Capacity
from raysft.runtime.driver import label
from raysft.runtime.metrics import OUTCOMES
from tests.fixtures.runs import execute, fake_engines, recipe_of, write_conversations

PATIENCE_S = 60.0
"""Workers tell the agent of their node every 10 s, and when they end."""

RUN = "counted"
Series = dict[tuple[str, ...], float]


def scraped() -> dict[str, Series]:
    """The series of `RUN` on this node: by name, and by the values of their tags in the order of names."""
    port = ray.nodes()[0]["MetricsExportPort"]
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(f"http://127.0.0.1:{port}/metrics", timeout=20) as response:
        text = response.read().decode()
    found: dict[str, Series] = {}
    for name, written, value in re.findall(r"^(ray_raysft_\w+)\{(.*)\} (\S+)$", text, re.MULTILINE):
        tags = dict(re.findall(r'(\w+)="([^"]*)"', written))
        if tags["run"] == RUN:
            ours = sorted(k for k in tags if k.islower() and k != "run" and not k.startswith("otel"))
            series, at = found.setdefault(name, {}), tuple(tags[k] for k in ours)
            series[at] = series.get(at, 0.0) + float(value)
    return found


def test_run_on_ray_tells_rows_drops_tokens_and_busy_seconds(local_ray: Capacity, tmp_path: Path) -> None:
    source = tmp_path / "questions.jsonl"
    write_conversations(source, [(f"Describe the year {1900 + n // 2}, please.",) for n in range(12)])
    stages = ["curate.exact_dedup", {"augment.respond": {"engine": "llm", "rows_per_shard": 2}}]
    recipe = recipe_of(tmp_path, [source], stages, run=RUN, engines=fake_engines(tmp_path))
    manifests, _ = execute(recipe, local_ray)
    rows = {
        (outcome, label(manifest.folder)): n
        for manifest in manifests
        for outcome in OUTCOMES
        if (n := getattr(manifest.counts, outcome))
    }
    deadline = time.monotonic() + PATIENCE_S
    found = scraped()
    while found.get("ray_raysft_rows_total") != rows and time.monotonic() < deadline:
        time.sleep(0.5)
        found = scraped()
    assert found["ray_raysft_rows_total"] == rows
    dropped = {rule: n for (rule, _), n in found["ray_raysft_dropped_rows_total"].items()}
    assert dropped == {"exact_duplicate": 6}
    generated = sum(record.tokens for manifest in manifests for record in manifest.shards)
    assert found["ray_raysft_tokens_total"]["llm", "generated"] == generated > 0
    assert found["ray_raysft_engine_seconds_total"]["cpu", "llm", "busy"] > 0
