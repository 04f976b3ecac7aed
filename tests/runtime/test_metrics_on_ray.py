"""A real Ray tells a run's counters to Prometheus: read from its own endpoint, after a run of a few rows."""

from __future__ import annotations

import re
import time
import urllib.request
from pathlib import Path

import pytest
import ray

from raysft.engines.protocol import Request, Sampling
from raysft.engines.spec import VllmSpec
from raysft.runtime.capacity import Capacity
from raysft.runtime.driver import label
from raysft.runtime.metrics import OUTCOMES
from raysft.runtime.segment import build_engine
from tests.fixtures.runs import execute, fake_engines, recipe_of, write_conversations
from tests.fixtures.tiny_model import make_tiny_model

PATIENCE_S = 60.0
"""Workers tell the agent of their node every 10 s, and when they end."""

RUN = "counted"
Series = dict[tuple[str, ...], float]


def exported(prefix: str) -> list[tuple[str, dict[str, str], float]]:
    """The series of this node whose names begin so: name, tags, value."""
    port = ray.nodes()[0]["MetricsExportPort"]
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(f"http://127.0.0.1:{port}/metrics", timeout=20) as response:
        text = response.read().decode()
    lines = re.findall(rf"^({prefix}\w+)\{{(.*)\}} (\S+)$", text, re.MULTILINE)
    return [(name, dict(re.findall(r'(\w+)="([^"]*)"', tags)), float(value)) for name, tags, value in lines]


def scraped() -> dict[str, Series]:
    """The series of `RUN`: by name, and by the values of our own tags in the order of their names."""
    found: dict[str, Series] = {}
    for name, tags, value in exported("ray_raysft_"):
        if tags["run"] == RUN:
            ours = sorted(k for k in tags if k.islower() and k != "run" and not k.startswith("otel"))
            series, at = found.setdefault(name, {}), tuple(tags[k] for k in ours)
            series[at] = series.get(at, 0.0) + value
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
    generated = sum(record.usage.tokens_out for manifest in manifests for record in manifest.shards)
    assert found["ray_raysft_tokens_total"]["llm", "generated"] == generated > 0
    assert found["ray_raysft_engine_seconds_total"]["cpu", "llm", "busy"] > 0


@pytest.mark.vllm
def test_vllm_engine_of_a_worker_tells_its_own_numbers_to_ray(local_ray: Capacity, tmp_path: Path) -> None:
    pytest.importorskip("vllm")
    model = str(make_tiny_model(tmp_path / "tiny"))
    engine = build_engine(VllmSpec(model=model, kv_cache_gib=0.25))
    try:
        requests = [Request(({"role": "user", "content": f"{n}"},), Sampling(max_tokens=8)) for n in range(5)]
        completions = engine.generate(requests)
        asked = sum(completion.prompt_tokens for completion in completions)
        deadline, told = time.monotonic() + PATIENCE_S, dict[str, float]()
        while told.get("ray_vllm_prompt_tokens_total", 0) < asked and time.monotonic() < deadline:
            time.sleep(0.5)
            told = {n: value for n, tags, value in exported("ray_vllm_") if tags.get("model_name") == model}
    finally:
        engine.close()
    assert told["ray_vllm_prompt_tokens_total"] >= asked, "what it read to warm up is told too"
    assert told["ray_vllm_generation_tokens_total"] >= sum(o.tokens for c in completions for o in c.outputs)
    assert 0 <= told["ray_vllm_kv_cache_usage_perc"] <= 1
