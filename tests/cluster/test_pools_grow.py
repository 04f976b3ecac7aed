"""Which nodes Ray's own autoscaler would ask for: its scheduler over our files, nothing started.

This is `ResourceDemandScheduler` of autoscaler v2, which `ray up` and our manifests use: given what waits, it
answers how many nodes of which type to launch.
"""

from __future__ import annotations

from typing import Any

import pytest
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr
from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
from ray.autoscaler.v2.utils import ResourceRequestUtil
from ray.core.generated.autoscaler_pb2 import GangResourceRequest, ResourceRequestByCount
from ray.core.generated.common_pb2 import LabelSelectorOperator

from tests.cluster.deployed import LAUNCHER_FILES, POOL_LABEL, launcher_file, ray_clusters

IN = LabelSelectorOperator.LABEL_OPERATOR_IN


def autoscaling(name: str) -> AutoscalingConfig:
    if name in LAUNCHER_FILES:
        return AutoscalingConfig(launcher_file(name), skip_content_hash=True)
    cluster = {"metadata": {"name": "raysft", "namespace": "default"}, "spec": ray_clusters()[name]}
    return AutoscalingConfig(_derive_autoscaling_config_from_ray_cr(cluster), skip_content_hash=True)


@pytest.fixture(params=[*LAUNCHER_FILES, "raycluster.yaml"])
def config(request: pytest.FixtureRequest) -> AutoscalingConfig:
    return autoscaling(request.param)


def asked(resources: dict[str, float], pool: str | None = None) -> Any:
    """What one waiting actor or task asks for."""
    selectors = [[(POOL_LABEL, IN, [pool])]] if pool else None
    return ResourceRequestUtil.make(resources, label_selectors=selectors)


def launched(
    config: AutoscalingConfig, *waiting: tuple[Any, int], together: tuple[Any, ...] = ()
) -> dict[str, int]:
    """Nodes by type that the autoscaler would launch, none being there; all that waits must fit on them."""
    request = SchedulingRequest(
        node_type_configs=config.get_node_type_configs(),
        max_num_nodes=config.get_max_num_nodes(),
        resource_requests=[ResourceRequestByCount(request=one, count=n) for one, n in waiting],
        gang_resource_requests=[GangResourceRequest(requests=list(together))] if together else [],
        disable_launch_config_check=True,
    )
    reply = ResourceDemandScheduler().schedule(request)
    assert not reply.infeasible_resource_requests
    assert not reply.infeasible_gang_resource_requests
    return {launch.instance_type: launch.count for launch in reply.to_launch}


def test_engines_that_name_a_pool_get_nodes_of_it(config: AutoscalingConfig) -> None:
    teachers, scorers = asked({"CPU": 2, "GPU": 1}, "generation"), asked({"CPU": 1, "GPU": 0.5}, "scoring")
    assert launched(config, (teachers, 3), (scorers, 4)) == {"generation": 3, "scoring": 2}


def test_work_without_an_engine_gets_no_gpu(config: AutoscalingConfig) -> None:
    assert launched(config, (asked({"CPU": 1}), 20)) == {"cpu": 2}


def test_training_that_names_its_pool_gets_all_its_workers_on_one_node(config: AutoscalingConfig) -> None:
    worker = asked({"CPU": 1, "GPU": 1}, "training")
    assert launched(config, together=(worker, worker, worker, worker)) == {"training": 1}


def test_pools_never_grow_beyond_their_bound(config: AutoscalingConfig) -> None:
    request = SchedulingRequest(
        node_type_configs=config.get_node_type_configs(),
        max_num_nodes=config.get_max_num_nodes(),
        resource_requests=[
            ResourceRequestByCount(request=asked({"CPU": 2, "GPU": 1}, "generation"), count=50)
        ],
        disable_launch_config_check=True,
    )
    (launch,) = ResourceDemandScheduler().schedule(request).to_launch
    assert (launch.instance_type, launch.count) == ("generation", 8)


def test_what_no_pool_holds_is_told_to_be_infeasible(config: AutoscalingConfig) -> None:
    with pytest.raises(AssertionError):
        launched(config, (asked({"GPU": 16}), 1))
