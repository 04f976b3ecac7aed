"""cluster/aws.yaml and gcp.yaml: Ray's own checks, EC2's, and what we promise. No cloud is asked."""

from __future__ import annotations

import copy
import subprocess
from typing import Any

import botocore.session
import jsonschema
import pytest
from botocore.validate import ParamValidator
from ray._private.label_utils import validate_node_label_syntax
from ray.autoscaler._private.util import prepare_config, validate_config

from tests.cluster.deployed import LAUNCHER_FILES, POOL_LABEL, POOLS, launcher_file, policy

EC2_API = "2016-11-15"


@pytest.fixture(params=LAUNCHER_FILES)
def config(request: pytest.FixtureRequest) -> dict[str, Any]:
    """A launcher file as `ray up` completes it before it asks the cloud."""
    return dict(prepare_config(launcher_file(request.param)))


def workers(config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {n: t for n, t in config["available_node_types"].items() if n != config["head_node_type"]}


def is_spot(node: dict[str, Any]) -> bool:
    market = node.get("InstanceMarketOptions", {}).get("MarketType")
    return market == "spot" or node.get("scheduling", {}).get("provisioningModel") == "SPOT"


def test_launcher_file_passes_the_checks_of_ray(config: dict[str, Any]) -> None:
    validate_config(config)
    for node_type in workers(config).values():
        validate_node_label_syntax(node_type["labels"])


def test_launcher_file_with_a_misspelt_key_is_refused_by_the_same_check(config: dict[str, Any]) -> None:
    spoilt = copy.deepcopy(config)
    spoilt["available_node_types"]["generation"]["max_worker"] = 3
    with pytest.raises(jsonschema.ValidationError, match="max_worker"):
        validate_config(spoilt)


def test_head_is_on_demand_and_offers_no_work(config: dict[str, Any]) -> None:
    head = config["available_node_types"][config["head_node_type"]]
    assert head["resources"] == {"CPU": 0}
    assert head["max_workers"] == 0
    assert not is_spot(head["node_config"])


def test_workers_are_spot_and_start_with_none_of_each_pool(config: dict[str, Any]) -> None:
    found = workers(config)
    assert set(found) == POOLS
    for pool, node_type in found.items():
        assert is_spot(node_type["node_config"]), pool
        assert node_type["labels"] == {POOL_LABEL: pool}
        assert node_type["min_workers"] == 0 < node_type["max_workers"]
        assert (node_type["resources"].get("GPU", 0) > 0) == (pool != "cpu")


def test_workers_are_bounded_in_number_and_in_idle_time(config: dict[str, Any]) -> None:
    assert config["max_workers"] == sum(t["max_workers"] for t in workers(config).values())
    assert 0 < config["idle_timeout_minutes"] <= 15


def test_token_authentication_is_on_in_every_container_and_the_token_stays_a_file(
    config: dict[str, Any],
) -> None:
    assert "-e RAY_AUTH_MODE=token" in config["docker"]["run_options"]
    assert config["file_mounts"]["/srv/ray/.ray/auth_token"] == "~/.ray/auth_token"
    assert "RAY_AUTH_TOKEN=" not in str(config)


def test_dashboard_and_job_server_listen_on_loopback_alone(config: dict[str, Any]) -> None:
    start = " ".join(config["head_start_ray_commands"])
    assert "--dashboard-host=127.0.0.1" in start
    assert "--head" in start


def test_metrics_of_every_node_are_on_one_known_port(config: dict[str, Any]) -> None:
    for commands in (config["head_start_ray_commands"], config["worker_start_ray_commands"]):
        assert sum("--metrics-export-port=8080" in command for command in commands) == 1


def test_nothing_is_installed_when_a_node_starts(config: dict[str, Any]) -> None:
    """Ray's defaults would pip install a nightly build of Ray on the head."""
    commands = config["head_setup_commands"] + config["worker_setup_commands"]
    assert not [command for command in commands if "pip" in command or "apt" in command]


def test_commands_for_the_nodes_are_shell_that_can_be_read(config: dict[str, Any]) -> None:
    kinds = ("initialization", "setup", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray")
    for command in (c for kind in kinds for c in config[f"{kind}_commands"]):
        read = subprocess.run(["bash", "-n", "-c", command], capture_output=True, text=True, check=False)
        assert not read.returncode, f"{command}: {read.stderr}"


def test_node_configs_for_aws_are_what_ec2_takes() -> None:
    run_instances = (
        botocore.session.Session().get_service_model("ec2", EC2_API).operation_model("RunInstances")
    )
    for name, node_type in launcher_file("aws.yaml")["available_node_types"].items():
        asked = {**node_type["node_config"], "MinCount": 1, "MaxCount": 1}
        report = ParamValidator().validate(asked, run_instances.input_shape)
        assert not report.has_errors(), f"{name}: {report.generate_report()}"


def test_node_configs_for_aws_with_a_misspelt_key_are_refused_by_the_same_check() -> None:
    run_instances = (
        botocore.session.Session().get_service_model("ec2", EC2_API).operation_model("RunInstances")
    )
    asked = {"MinCount": 1, "MaxCount": 1, "InstanceMarketOption": {"MarketType": "spot"}}
    assert (
        "InstanceMarketOption"
        in ParamValidator().validate(asked, run_instances.input_shape).generate_report()
    )


def test_node_configs_for_google_name_fields_of_compute_engine() -> None:
    """Fields and values of `instances` in Compute Engine's API v1, of those that the file uses."""
    allowed = {
        "provisioningModel": {"SPOT", "STANDARD"},
        "instanceTerminationAction": {"DELETE"},
        "onHostMaintenance": {"TERMINATE", "MIGRATE"},
        "automaticRestart": {True, False},
    }
    for name, node_type in launcher_file("gcp.yaml")["available_node_types"].items():
        node = node_type["node_config"]
        assert node.keys() <= {"machineType", "disks", "metadata", "scheduling", "serviceAccounts"}, name
        for field, value in node["scheduling"].items():
            assert value in allowed[field], f"{name}: {field}"
        if node["scheduling"]["provisioningModel"] == "SPOT":
            assert not node["scheduling"]["automaticRestart"], "Compute Engine refuses it for spot machines"
        if node_type["resources"].get("GPU"):
            assert node["scheduling"]["onHostMaintenance"] == "TERMINATE"


def test_roles_of_the_cluster_exist_as_policies_without_wildcards() -> None:
    named = {
        t["node_config"]["IamInstanceProfile"]["Name"]
        for t in launcher_file("aws.yaml")["available_node_types"].values()
    }
    assert named == {"raysft-head", "raysft-worker"}
    for document in ("head.json", "storage.json"):
        for statement in policy(document)["Statement"]:
            actions = statement["Action"]
            listed = [actions] if isinstance(actions, str) else actions
            assert not [a for a in listed if "*" in a], f"{document}: {statement['Sid']}"
    (passing,) = (s for s in policy("head.json")["Statement"] if s["Action"] == "iam:PassRole")
    assert passing["Resource"].endswith(":role/raysft-worker")


def test_head_may_end_instances_of_this_cluster_alone() -> None:
    (ending,) = (s for s in policy("head.json")["Statement"] if s["Action"] == "ec2:TerminateInstances")
    tag = ending["Condition"]["StringEquals"]
    assert tag == {"ec2:ResourceTag/ray-cluster-name": launcher_file("aws.yaml")["cluster_name"]}
