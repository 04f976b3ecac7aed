"""The files below cluster/ that describe clusters, read as data for their tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
CLUSTER = ROOT / "cluster"
POOL_LABEL = "raysft-pool"
POOLS = {"generation", "scoring", "training", "cpu"}
LAUNCHER_FILES = ("aws.yaml", "gcp.yaml")


def launcher_file(name: str) -> dict[str, Any]:
    """A file for `ray up`, as written."""
    return dict(yaml.safe_load((CLUSTER / name).read_text()))


def manifests(name: str) -> list[dict[str, Any]]:
    """The objects of a file for `kubectl apply`."""
    return list(yaml.safe_load_all((CLUSTER / "kuberay" / name).read_text()))


def ray_clusters() -> dict[str, dict[str, Any]]:
    """The cluster of each of KubeRay's objects: by file, what stands under RayCluster's `spec`."""
    (cluster,), (job,) = manifests("raycluster.yaml"), manifests("rayjob.yaml")
    return {"raycluster.yaml": cluster["spec"], "rayjob.yaml": job["spec"]["rayClusterSpec"]}


def pod_templates(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """The pods of a cluster, head first."""
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    return [group["template"]["spec"] for group in groups]


def policy(name: str) -> dict[str, Any]:
    """A document of cluster/aws_iam."""
    return dict(json.loads((CLUSTER / "aws_iam" / name).read_text()))
