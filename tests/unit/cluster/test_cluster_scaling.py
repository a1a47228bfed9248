"""What Ray's autoscaler would start for a demand, by its own scheduler, with the node types of the shipped files.

What it does after a refusal is in tests/integration/cluster/test_aws_up.py for AWS; for Google Cloud, below.
"""

from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config
from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
from ray.autoscaler.v2.instance_manager.subscribers.cloud_resource_monitor import CloudResourceMonitor
from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
from ray.core.generated.autoscaler_pb2 import ResourceRequest, ResourceRequestByCount
from ray.core.generated.instance_manager_pb2 import Instance, InstanceUpdateEvent

FOUND = {
    "head": {"CPU": 0},
    "cpu_spot": {"CPU": 16},
    "gpu_spot": {"CPU": 4, "GPU": 1},
    "gpu_on_demand": {"CPU": 4, "GPU": 1},
}
"""What `ray up` finds for the instance types (tests/integration/cluster/test_aws_launch.py sees it do so)."""


@pytest.fixture(params=["aws.yaml", "gcp.yaml"])
def config(request: pytest.FixtureRequest, shipped: Any) -> dict[str, Any]:
    document = yaml.safe_load((shipped / request.param).read_text(encoding="utf-8"))
    for name, node in document["available_node_types"].items():
        node["resources"] = FOUND[name] | node["resources"]
    return prepare_config(document)


def launched(
    config: dict[str, Any], demand: dict[str, float], count: int, monitor: CloudResourceMonitor | None = None
) -> dict[str, int]:
    """How many nodes of which type the autoscaler starts from an idle cluster; `monitor`: what came of earlier ones."""
    monitor = monitor or CloudResourceMonitor()
    shapes = AutoscalingConfig(config, skip_content_hash=True)
    reply = ResourceDemandScheduler().schedule(
        SchedulingRequest(
            disable_launch_config_check=True,
            node_type_configs=shapes.get_node_type_configs(),
            max_num_nodes=shapes.get_max_num_nodes(),
            resource_requests=[
                ResourceRequestByCount(request=ResourceRequest(resources_bundle=demand), count=count),
            ],
            cloud_resource_availabilities=monitor.get_resource_availabilities(),
            recoverable_resource_availabilities=monitor.get_recoverable_resource_availabilities(),
        )
    )
    started: dict[str, int] = {}
    for launch in reply.to_launch:
        started[launch.instance_type] = started.get(launch.instance_type, 0) + launch.count
    started.pop("head", None)
    return started


def test_nothing_is_started_for_no_demand(config: dict[str, Any]) -> None:
    assert launched(config, {"CPU": 1}, 0) == {}


def test_decoding_goes_to_cpu_nodes(config: dict[str, Any]) -> None:
    assert launched(config, {"CPU": 1}, 64) == {"cpu_spot": 4}


def test_trials_go_to_spot_machines_first(config: dict[str, Any]) -> None:
    assert launched(config, {"CPU": 1, "GPU": 0.25}, 16) == {"gpu_spot": 4}


@pytest.mark.parametrize("config", ["gcp.yaml"], indirect=True)
def test_a_refused_spot_request_is_made_again_and_the_on_demand_type_is_not_taken(config: dict[str, Any]) -> None:
    """Ray 2.60 keeps away from a type after ALLOCATION_TIMEOUT; a refused request ends in ALLOCATION_FAILED."""
    monitor = CloudResourceMonitor()
    refused = InstanceUpdateEvent(
        instance_id="1", instance_type="gpu_spot", new_instance_status=Instance.ALLOCATION_FAILED
    )
    monitor.notify([refused])
    assert launched(config, {"CPU": 1, "GPU": 1}, 2, monitor) == {"gpu_spot": 2}
    config["available_node_types"]["gpu_spot"]["max_workers"] = 0  # the remedy that the file names
    assert launched(config, {"CPU": 1, "GPU": 1}, 2, monitor) == {"gpu_on_demand": 2}


def test_no_more_is_started_than_the_file_allows(config: dict[str, Any]) -> None:
    on_demand = {"gpu_on_demand": 2} if "gpu_on_demand" in config["available_node_types"] else {}
    assert launched(config, {"CPU": 1, "GPU": 1}, 100) == {"gpu_spot": 8} | on_demand
    assert launched(config, {"CPU": 16}, 100) == {"cpu_spot": 16}
