"""Grafana's dashboard and Prometheus' list: every metric that is asked for is one that somebody tells."""

from __future__ import annotations

import importlib.util
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray._private.ray_constants import PROMETHEUS_SERVICE_DISCOVERY_FILE
from ray.dashboard.modules.metrics import dashboards
from ray.dashboard.modules.reporter.reporter_agent import METRICS_GAUGES

from raysft.runtime import metrics
from tests.cluster.deployed import CLUSTER, ROOT

DASHBOARD = json.loads((CLUSTER / "grafana" / "dashboard.json").read_text())
NAME = re.compile(r"\bray_[A-Za-z0-9_]+")
ENDINGS = {"gauge": ("",), "counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}


def panels() -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def expressions() -> list[str]:
    return [target["expr"] for panel in panels() for target in panel["targets"]]


@cache
def told_by_vllm() -> set[str]:
    """Names under which Ray exports the installed vLLM's metrics, from its source: loading it is slow."""
    found = importlib.util.find_spec("vllm")
    assert found is not None
    assert found.origin is not None
    source = (Path(found.origin).parent / "v1" / "metrics" / "loggers.py").read_text()
    made = re.findall(r'self\._(gauge|counter|histogram)_cls\(\s*name="(vllm:[^"]+)"', source)
    return {f"ray_{name.replace(':', '_')}{ending}" for kind, name in made for ending in ENDINGS[kind]}


@cache
def told_by_ray() -> set[str]:
    """Gauges of Ray's node agents, and whatever Ray's own dashboards ask for."""
    sources = [path.read_text() for path in Path(dashboards.__path__[0]).glob("*.py")]
    return {f"ray_{name}" for name in METRICS_GAUGES} | {n for text in sources for n in NAME.findall(text)}


def told_by_us() -> set[str]:
    return {name for named in metrics.ALL for name in named.exported}


def test_metrics_of_vllm_are_found_in_its_source() -> None:
    assert {"ray_vllm_kv_cache_usage_perc", "ray_vllm_prompt_tokens_total"} <= told_by_vllm()


@pytest.mark.parametrize(
    "expression", [*expressions(), *[v["definition"] for v in DASHBOARD["templating"]["list"][1:]]]
)
def test_metric_that_the_dashboard_asks_for_is_told(expression: str) -> None:
    asked = set(NAME.findall(expression))
    assert asked
    assert asked <= told_by_us() | told_by_vllm() | told_by_ray()


def test_metrics_of_ours_are_all_on_the_dashboard() -> None:
    asked = {name for expression in expressions() for name in NAME.findall(expression)}
    assert [named.name for named in metrics.ALL if not asked & set(named.exported)] == []


def test_tags_that_the_dashboard_sorts_ours_by_are_theirs() -> None:
    """An unknown label sums to nothing, without a word."""
    ours = {name: {"run", *named.tags} for named in metrics.ALL for name in named.exported}
    for expression in expressions():
        for name, selector in re.findall(r"(ray_raysft_\w+)(\{[^}]*\})?", expression):
            assert set(re.findall(r"(\w+)\s*=~?\"", selector)) <= ours[name], expression
        if "ray_raysft" in expression:
            (tags,) = {ours_of for ours_of in map(frozenset, (ours[n] for n in NAME.findall(expression)))}
            for grouped in re.findall(r"by \(([^)]*)\)", expression):
                assert {tag.strip() for tag in grouped.split(",")} <= tags, expression


def test_panels_say_what_they_show_and_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    for panel in panels():
        assert panel["description"], panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}", "one that every Grafana has another name for"


def test_prometheus_reads_the_list_of_nodes_that_ray_writes() -> None:
    (job,) = yaml.safe_load((CLUSTER / "prometheus.yml").read_text())["scrape_configs"]
    assert job["file_sd_configs"] == [{"files": [f"/tmp/ray/{PROMETHEUS_SERVICE_DISCOVERY_FILE}"]}]


def test_metrics_of_ours_are_all_in_the_docs() -> None:
    page = (ROOT / "docs" / "deploy.md").read_text()
    assert [
        n for named in metrics.ALL for n in named.exported[:1] if n.removesuffix("_bucket") not in page
    ] == []
