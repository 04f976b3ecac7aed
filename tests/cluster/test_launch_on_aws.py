"""Ray's own launcher starts the machines of cluster/aws.yaml on moto's AWS, in this process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ray.autoscaler._private.util import prepare_config

from tests.cluster.deployed import launcher_file, policy

boto3 = pytest.importorskip("boto3")
moto = pytest.importorskip("moto")


@pytest.fixture
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty account, with the roles that docs/deploy.md makes."""
    (tmp_path / ".ssh").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))  # where Ray keeps the key of the machines
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    with moto.mock_aws():
        iam = boto3.client("iam")
        for role in ("raysft-head", "raysft-worker"):
            iam.create_role(RoleName=role, AssumeRolePolicyDocument=json.dumps(policy("trust.json")))
            for name in ("storage", "head"):
                document = json.dumps(policy(f"{name}.json"))
                iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=document)
            iam.create_instance_profile(InstanceProfileName=role)
            iam.add_role_to_instance_profile(InstanceProfileName=role, RoleName=role)
        yield


def test_launcher_starts_the_machines_of_every_pool_with_their_roles(account: None) -> None:
    from ray.autoscaler._private.aws.config import bootstrap_aws
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider

    written = launcher_file("aws.yaml")["available_node_types"]
    config = bootstrap_aws(prepare_config(launcher_file("aws.yaml")))
    provider = AWSNodeProvider(config["provider"], config["cluster_name"])
    for name, node_type in config["available_node_types"].items():
        provider.create_node(node_type["node_config"], {"ray-node-name": name}, 1)
    told = boto3.client("ec2", "us-east-1").describe_instances()["Reservations"]
    found: list[Any] = [instance for reservation in told for instance in reservation["Instances"]]
    machines = {next(t["Value"] for t in i["Tags"] if t["Key"] == "Name"): i for i in found}
    assert machines.keys() == written.keys()
    for name, machine in machines.items():
        assert machine["InstanceType"] == written[name]["node_config"]["InstanceType"]
        assert machine.get("InstanceLifecycle", "on demand") == ("on demand" if name == "head" else "spot")
        role = "raysft-head" if name == "head" else "raysft-worker"
        assert machine["IamInstanceProfile"]["Arn"].endswith(f"/{role}")
        assert {"Key": "ray-cluster-name", "Value": "raysft"} in machine["Tags"], (
            "what head.json ends them by"
        )


def test_resources_in_the_file_are_those_of_the_machines(account: None) -> None:
    types = {
        name: node_type["node_config"]["InstanceType"]
        for name, node_type in launcher_file("aws.yaml")["available_node_types"].items()
    }
    told = boto3.client("ec2", "us-east-1").describe_instance_types(InstanceTypes=list(types.values()))
    machines = {machine["InstanceType"]: machine for machine in told["InstanceTypes"]}
    for name, node_type in launcher_file("aws.yaml")["available_node_types"].items():
        machine = machines[types[name]]
        gpus = sum(gpu["Count"] for gpu in machine.get("GpuInfo", {}).get("Gpus", []))
        assert node_type["resources"].get("GPU", 0) == gpus
        assert name == "head" or node_type["resources"]["CPU"] == machine["VCpuInfo"]["DefaultVCpus"]
