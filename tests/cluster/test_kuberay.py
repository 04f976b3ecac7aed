"""Manifests for Kubernetes: KubeRay's fields, its operator's checks, and how Ray's autoscaler reads them."""

from __future__ import annotations

import copy
from typing import Any

import jsonschema
import pytest
import ray
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr

from tests.cluster.deployed import POOL_LABEL, POOLS, launcher_file, manifests, pod_templates, ray_clusters
from tests.cluster.kuberay_schema import RAY_CLUSTER, RAY_JOB

SCHEMAS = {"raycluster.yaml": RAY_CLUSTER, "rayjob.yaml": RAY_JOB}


@pytest.fixture(params=sorted(SCHEMAS))
def cluster(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The spec of a cluster, of RayCluster and of RayJob."""
    return ray_clusters()[request.param]


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_manifest_has_the_fields_of_kuberay_and_no_others(name: str) -> None:
    (written,) = manifests(name)
    jsonschema.Draft202012Validator.check_schema(SCHEMAS[name])
    jsonschema.validate(written, SCHEMAS[name])


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "autoscalerOptions", "version"), "v3"),
        (("spec", "autoscalerOption"), {}),
        (("spec", "headGroupSpec", "rayStartParams", "num-cpus"), 0),
        (("spec", "workerGroupSpecs", 0, "rayStartParams"), {"labels": "raysft-pool=generation"}),
        (("spec", "workerGroupSpecs", 0, "labels"), {POOL_LABEL: "spot & cheap"}),
        (("spec", "headGroupSpec", "template", "spec", "restartPolicy"), "Always"),
        (("metadata", "name"), "Raysft"),
    ],
)
def test_manifest_that_kuberay_would_refuse_is_refused_here(path: tuple[Any, ...], value: Any) -> None:
    spoilt = copy.deepcopy(manifests("raycluster.yaml")[0])
    at: Any = spoilt
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(spoilt, RAY_CLUSTER)


def test_clusters_of_job_and_of_cluster_are_the_same() -> None:
    found = ray_clusters()
    assert found["rayjob.yaml"] == found["raycluster.yaml"]


def test_autoscaler_of_ray_reads_the_groups_as_those_of_the_launcher_files(cluster: dict[str, Any]) -> None:
    """Ray's own reading of the manifest, with its own schema check at the end."""
    read = _derive_autoscaling_config_from_ray_cr(
        {"metadata": {"name": "raysft", "namespace": "default"}, "spec": cluster}
    )
    groups = read["available_node_types"]
    assert groups.pop("headgroup")["resources"]["CPU"] == 0
    assert set(groups) == POOLS
    on_aws = launcher_file("aws.yaml")["available_node_types"]
    for pool, group in groups.items():
        assert group["labels"] == {POOL_LABEL: pool}
        assert group["min_workers"] == 0
        for field in ("max_workers", "idle_timeout_s"):
            assert group.get(field) == on_aws[pool].get(field), f"{pool}: {field}"
        resources = {name: n for name, n in group["resources"].items() if name != "memory"}
        assert resources == on_aws[pool]["resources"], pool


def test_autoscaler_is_version_2_and_idle_nodes_go(cluster: dict[str, Any]) -> None:
    assert cluster["enableInTreeAutoscaling"] is True
    assert cluster["autoscalerOptions"]["version"] == "v2"
    assert 0 < cluster["autoscalerOptions"]["idleTimeoutSeconds"] <= 900


def test_head_offers_no_work_by_num_cpus_alone(cluster: dict[str, Any]) -> None:
    head = cluster["headGroupSpec"]
    assert head["rayStartParams"]["num-cpus"] == "0"
    assert "resources" not in head, "the operator refuses both"


def test_token_authentication_is_on_for_a_ray_that_has_it(cluster: dict[str, Any]) -> None:
    assert cluster["authOptions"]["mode"] == "token"
    assert cluster["rayVersion"] == ray.__version__
    assert tuple(map(int, cluster["rayVersion"].split("."))) >= (2, 52, 0), "older Rays have no tokens"


def test_state_of_the_head_is_in_the_redis_that_we_describe_with_a_password_from_a_secret(
    cluster: dict[str, Any],
) -> None:
    options = cluster["gcsFaultToleranceOptions"]
    assert options["redisPassword"].keys() == {"valueFrom"}
    services = [m for m in manifests("prerequisites.yaml") if m["kind"] == "Service"]
    (redis,) = [m for m in manifests("prerequisites.yaml") if m["kind"] == "StatefulSet"]
    addresses = [f"{s['metadata']['name']}:{s['spec']['ports'][0]['port']}" for s in services]
    assert options["redisAddress"] in addresses
    (container,) = redis["spec"]["template"]["spec"]["containers"]
    assert container["env"][0]["valueFrom"] == options["redisPassword"]["valueFrom"]
    for variable in (
        env["name"] for env in cluster["headGroupSpec"]["template"]["spec"]["containers"][0]["env"]
    ):
        assert variable not in ("RAY_REDIS_ADDRESS", "REDIS_PASSWORD", "REDIS_USERNAME"), (
            "the operator refuses it"
        )


def test_service_account_of_all_pods_is_one_that_we_describe(cluster: dict[str, Any]) -> None:
    accounts = {
        m["metadata"]["name"] for m in manifests("prerequisites.yaml") if m["kind"] == "ServiceAccount"
    }
    assert {pod["serviceAccountName"] for pod in pod_templates(cluster)} == accounts


def test_pods_run_as_the_user_of_the_image_without_privileges(cluster: dict[str, Any]) -> None:
    for pod in pod_templates(cluster):
        assert pod["securityContext"]["runAsUser"] == 1000
        assert pod["securityContext"]["runAsNonRoot"] is True
        (container,) = pod["containers"]
        assert container["securityContext"]["allowPrivilegeEscalation"] is False


def test_pods_get_what_they_ask_for_and_wait_for_nodes_of_their_pool(cluster: dict[str, Any]) -> None:
    for pod in pod_templates(cluster):
        resources = pod["containers"][0]["resources"]
        assert resources["requests"] == resources["limits"], "a pod that is promised less is killed first"
    for group in cluster["workerGroupSpecs"]:
        pod = group["template"]["spec"]
        assert pod["nodeSelector"] == group["labels"]
        limits = pod["containers"][0]["resources"]["limits"]
        assert limits.get("nvidia.com/gpu") == group["resources"].get("GPU")
        assert int(limits["cpu"]) < int(group["resources"]["CPU"]), "Kubernetes keeps some of each machine"


def test_job_ends_its_cluster_and_waits_for_nothing_for_ever() -> None:
    (job,) = manifests("rayjob.yaml")
    spec = job["spec"]
    assert spec["shutdownAfterJobFinishes"] is True
    assert spec["submissionMode"] == "HTTPMode"
    assert spec["preRunningDeadlineSeconds"] <= 3600
    assert spec["activeDeadlineSeconds"] > 0
    assert "suspend" not in spec
    assert "clusterSelector" not in spec, "the operator refuses it with backoffLimit"


def test_pod_monitor_reads_the_port_that_kuberay_names() -> None:
    (monitor,) = manifests("podmonitor.yaml")
    assert [e["port"] for e in monitor["spec"]["podMetricsEndpoints"]] == ["metrics"]
    for cluster in ray_clusters().values():
        (head,) = cluster["headGroupSpec"]["template"]["spec"]["containers"]
        assert {"name": "metrics", "containerPort": 8080} in head["ports"]
