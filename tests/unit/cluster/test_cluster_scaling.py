"""What Ray's autoscaler would start for a demand, by its own scheduler, with the node types of the shipped files."""

from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config
from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
from ray.core.generated.autoscaler_pb2 import ResourceRequest, ResourceRequestByCount

AWS = {
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
        node["resources"] = AWS[name] | node["resources"]
    return prepare_config(document)


def launched(
    config: dict[str, Any], demand: dict[str, float], count: int, failed: tuple[str, ...] = ()
) -> dict[str, int]:
    """How many nodes of which type the autoscaler starts from an idle cluster; `failed`: types refused a moment ago."""
    shapes = AutoscalingConfig(config, skip_content_hash=True)
    reply = ResourceDemandScheduler().schedule(
        SchedulingRequest(
            disable_launch_config_check=True,
            node_type_configs=shapes.get_node_type_configs(),
            max_num_nodes=shapes.get_max_num_nodes(),
            resource_requests=[
                ResourceRequestByCount(request=ResourceRequest(resources_bundle=demand), count=count),
            ],
            cloud_resource_availabilities=dict.fromkeys(failed, 0.0),
            recoverable_resource_availabilities=dict.fromkeys(failed, 0.0),
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


def test_trials_go_to_on_demand_machines_when_spot_was_refused(config: dict[str, Any]) -> None:
    assert launched(config, {"CPU": 1, "GPU": 1}, 2, failed=("gpu_spot",)) == {"gpu_on_demand": 2}


def test_no_more_is_started_than_the_file_allows(config: dict[str, Any]) -> None:
    assert launched(config, {"CPU": 1, "GPU": 1}, 100) == {"gpu_spot": 8, "gpu_on_demand": 2}
    assert launched(config, {"CPU": 16}, 100) == {"cpu_spot": 16}
