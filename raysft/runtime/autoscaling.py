"""How far the cluster of the head node can grow: the node types of its autoscaler, and how many of each.

Ray 2.60 tells a driver nothing of this: what its autoscaler was given stays with the autoscaler. That of a
cluster launcher (`ray up`) has it in a file, which its command line on the head node names; KubeRay's reads
the RayCluster resource, which the head's pod may read too. Both become the same mapping. Where neither is
found, a cluster is taken to be no more than its living nodes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import ray
import yaml

from raysft.runtime.capacity import Nodes

HEAD = "node:__internal_head__"
HEAD_ANSWERS_S = 60.0
CONFIG_OPTION = "--autoscaling-config="
NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


@dataclass(frozen=True)
class Limits:
    """Node types besides the head's, with the most of each and of all; `unknown` says why there are none."""

    types: tuple[Nodes, ...] = ()
    max_workers: int = 0
    unknown: str = ""

    def left(self, living: Iterable[Nodes]) -> tuple[Nodes, ...]:
        """The types with as many nodes as may still come beside the living ones."""
        left = []
        alive = list(living)
        for kind in self.types:
            same = sum(
                n.count for n in alive if (n.cpus, n.gpus) == (kind.cpus, kind.gpus) and n.has(kind.labels)
            )
            if kind.count > same:
                left.append(replace(kind, count=kind.count - same))
        return tuple(left)


def limits_of(config: Mapping[str, Any]) -> Limits:
    """What an autoscaler's configuration allows (Ray's cluster YAML, as Ray's schema describes it)."""
    types = config.get("available_node_types") or {}
    bound = int(config.get("max_workers") or 0)
    found = [
        Nodes(
            float(kind.get("resources", {}).get("CPU", 0)),
            float(kind.get("resources", {}).get("GPU", 0)),
            dict(kind.get("labels") or {}),
            min(bound, int(kind.get("max_workers", bound))),
        )
        for name, kind in types.items()
        if name != config.get("head_node_type")
    ]
    return Limits(tuple(kind for kind in found if kind.count > 0), bound)


def autoscaling_limits() -> Limits:
    """The limits of the joined cluster, asked on its head node."""
    head = [n["NodeID"] for n in ray.nodes() if n["Alive"] and HEAD in n["Resources"]]
    if head == [ray.get_runtime_context().get_node_id()]:
        return limits_here()
    asked = _limits_on_head.remote()
    try:
        return ray.get(asked, timeout=HEAD_ANSWERS_S)
    except ray.exceptions.GetTimeoutError:
        ray.cancel(asked)
        return Limits(unknown=f"its head did not tell its autoscaler's limits within {HEAD_ANSWERS_S:g} s")


@ray.remote(num_cpus=0, resources={HEAD: 0.001})
def _limits_on_head() -> Limits:
    return limits_here()


def limits_here() -> Limits:
    """The limits, as a process on the head node finds them."""
    path = _config_file()
    if path is not None:
        try:
            return limits_of(yaml.safe_load(path.read_text(encoding="utf-8")))
        except OSError as error:
            return Limits(unknown=f"its autoscaler's limits are not known: {error}")
    if "RAY_CLUSTER_NAME" in os.environ and NAMESPACE.exists():
        return _limits_of_kuberay(os.environ["RAY_CLUSTER_NAME"], NAMESPACE.read_text().strip())
    return Limits()


def _config_file() -> Path | None:
    """The file that this cluster's autoscaler was started with, if it runs on this machine."""
    this_cluster = f"--gcs-address={ray.get_runtime_context().gcs_address}"
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or ()
        if this_cluster in words:
            for word in words:
                if word.startswith(CONFIG_OPTION):
                    return Path(word.removeprefix(CONFIG_OPTION))
    return None


def _limits_of_kuberay(cluster: str, namespace: str) -> Limits:
    """The limits in the cluster's RayCluster resource; none if it does not grow by itself."""
    import requests
    from ray.autoscaler._private.kuberay import autoscaling_config
    from ray.autoscaler._private.kuberay.node_provider import KubernetesHttpApiClient

    try:
        resource = KubernetesHttpApiClient(namespace).get(f"rayclusters/{cluster}")
    except (requests.RequestException, OSError) as error:
        return Limits(unknown=f"its autoscaler's limits are not known: RayCluster {cluster}: {error}")
    if not resource["spec"].get("enableInTreeAutoscaling"):
        return Limits()
    return limits_of(autoscaling_config._derive_autoscaling_config_from_ray_cr(resource))
