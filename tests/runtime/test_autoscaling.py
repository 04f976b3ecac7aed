"""How far a cluster can grow, as its autoscaler's configuration says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import requests
from ray.autoscaler._private.kuberay.node_provider import KubernetesHttpApiClient

from raysft.runtime import autoscaling
from raysft.runtime.autoscaling import Limits, limits_here, limits_of
from raysft.runtime.capacity import Nodes

GENERATION = {"raysft-pool": "generation"}


def config(**types: dict[str, Any]) -> dict[str, Any]:
    head = {"resources": {"CPU": 4}, "max_workers": 0}
    return {"max_workers": 10, "head_node_type": "head", "available_node_types": {"head": head, **types}}


def test_limits_are_of_worker_types_bounded_by_those_of_all() -> None:
    gpu = {"resources": {"CPU": 8, "GPU": 2}, "labels": GENERATION, "max_workers": 99}
    few = {"resources": {"CPU": 16}, "max_workers": 3}
    off = {"resources": {"CPU": 16}, "max_workers": 0}
    found = limits_of(config(gpu=gpu, few=few, off=off, any={"resources": {"CPU": 2}}))
    assert found == Limits(
        (Nodes(8, 2, GENERATION, 10), Nodes(16, 0, {}, 3), Nodes(2, 0, {}, 10)), max_workers=10
    )


def test_limits_left_beside_living_nodes_are_those_that_are_not_there_yet() -> None:
    limits = Limits((Nodes(8, 2, GENERATION, 3), Nodes(16, 0, {}, 1)), 4)
    living = [Nodes(8, 2, {**GENERATION, "zone": "a"}), Nodes(16, 0), Nodes(0, 0)]
    assert limits.left(living) == (Nodes(8, 2, GENERATION, 2),)
    assert Limits().left(living) == ()


def ray_cluster(**spec: Any) -> dict[str, Any]:
    """A RayCluster resource with a group of GPU workers, as KubeRay's API server gives it."""

    def container(**limits: str) -> dict[str, Any]:
        return {"spec": {"containers": [{"name": "ray", "resources": {"limits": limits}}]}}

    head = {"rayStartParams": {"num-cpus": "0"}, "template": container(cpu="2", memory="4Gi")}
    workers = {
        "groupName": "generation",
        "replicas": 0,
        "minReplicas": 0,
        "maxReplicas": 6,
        "rayStartParams": {},
        "labels": GENERATION,
        "template": container(**{"cpu": "7500m", "memory": "60Gi", "nvidia.com/gpu": "1"}),
    }
    return {
        "metadata": {"name": "sft", "namespace": "team"},
        "spec": {"headGroupSpec": head, "workerGroupSpecs": [workers], **spec},
    }


@pytest.fixture
def in_a_pod(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What KubeRay gives the head's pod, in which no autoscaler runs."""
    monkeypatch.setenv("RAY_CLUSTER_NAME", "sft")
    (tmp_path / "namespace").write_text("team\n")
    monkeypatch.setattr(autoscaling, "NAMESPACE", tmp_path / "namespace")
    monkeypatch.setattr(autoscaling, "_config_file", lambda: None)


def test_limits_on_kubernetes_are_those_of_the_raycluster(
    in_a_pod: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def get(self: KubernetesHttpApiClient, path: str) -> dict[str, Any]:
        asked.append((self._namespace, path))
        return ray_cluster(enableInTreeAutoscaling=True)

    monkeypatch.setattr(KubernetesHttpApiClient, "get", get)
    assert limits_here() == Limits((Nodes(8, 1, GENERATION, 6),), max_workers=6)
    assert asked == [("team", "rayclusters/sft")]


def test_limits_on_kubernetes_without_autoscaling_are_none(
    in_a_pod: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(KubernetesHttpApiClient, "get", lambda self, path: ray_cluster())
    assert limits_here() == Limits()


def test_limits_that_may_not_be_read_say_why(in_a_pod: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: KubernetesHttpApiClient, path: str) -> dict[str, Any]:
        raise requests.HTTPError("403 Forbidden")

    monkeypatch.setattr(KubernetesHttpApiClient, "get", refuse)
    assert limits_here().unknown == "its autoscaler's limits are not known: RayCluster sft: 403 Forbidden"
