"""`ray up`, the autoscaler that it starts and `ray down`, by Ray's own code against a model of AWS (moto).

What this proves: `create_or_update_cluster`, which is what `ray up` calls, makes one head with the tags by which it is
found again and sends it the mounts and commands of the file; from the configuration that the head is sent, autoscaler
v2 (`Autoscaler.update_autoscaling_state`, which is what the monitor on the head calls) makes a machine of the right
type for a demand and sets it up; where EC2 refuses spot it makes the same machine on demand, up to the file's limit;
`ray down` ends everything. Calls to EC2 are real ones to moto; `ssh` and `rsync` are programs that write down what they
are asked.

What it cannot prove: that AWS has capacity or quota, that the images exist (what EC2 does with `resolve:ssm:` is
imitated), that the policies suffice (moto does not weigh them), that the commands and Ray itself work on the instances.
"""

import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from tests.integration.cluster.recorded_ssh import Records

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[3]
REGION = "us-west-2"
ENVIRONMENT = '["HOME=/home/ray","PATH=/opt/env/bin:/usr/bin"]'
Refused = Callable[[dict[str, Any]], str | None]
"""The error with which EC2 answers a request, None where it fulfils it."""


def of_spot(code: str) -> Refused:
    return lambda asked: code if "InstanceMarketOptions" in asked else None


class Cluster:
    """A cluster from `ray up` on, and the autoscaler that runs on its head."""

    def __init__(self, boto3: Any, path: Path, records: Records) -> None:
        self.ec2 = boto3.resource("ec2", REGION)
        self.path = path
        self.records = records
        self.refused: Refused = lambda asked: None
        self.autoscaler: Any = None
        self._versions = itertools.count(1)

    def up(self) -> None:
        from ray.autoscaler._private import commands

        commands.create_or_update_cluster(
            str(self.path), None, None, no_restart=False, restart_only=False, yes=True, no_config_cache=True
        )

    def start_monitor(self) -> None:
        """What `ray start --head --autoscaling-config` starts on the head, given what the head was sent."""
        from ray.autoscaler.v2.autoscaler import Autoscaler
        from ray.autoscaler.v2.instance_manager.config import FileConfigReader

        key = self.records.folder / "ray_bootstrap_key.pem"
        (Path.home() / key.name).write_bytes(key.read_bytes())
        reader = FileConfigReader(str(self.records.folder / "ray_bootstrap_config.yaml"))
        self.autoscaler = Autoscaler(
            session_name="test", config_reader=reader, gcs_client=SimpleNamespace(address="10.0.0.1:6379")
        )

    def demand(self, bundle: dict[str, float], count: int, *, until: Callable[[], bool], seconds: float = 60) -> None:
        """Lets the autoscaler see unfulfilled demand until something is so."""
        from ray.autoscaler.v2 import autoscaler
        from ray.core.generated import autoscaler_pb2 as wire

        (head,) = self.instances()["head"]

        def state(_: Any) -> Any:
            return wire.ClusterResourceState(
                cluster_resource_state_version=next(self._versions),
                node_states=[
                    wire.NodeState(
                        node_id=b"head",
                        instance_id=head.id,
                        ray_node_type_name="head",
                        status=wire.NodeStatus.RUNNING,
                        total_resources={"node:__internal_head__": 1.0},
                    )
                ],
                pending_resource_requests=[
                    wire.ResourceRequestByCount(request=wire.ResourceRequest(resources_bundle=bundle), count=count)
                ],
            )

        end = time.monotonic() + seconds
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(autoscaler, "get_cluster_resource_state", state)
            while not until() and time.monotonic() < end:
                assert self.autoscaler.update_autoscaling_state() is not None
                time.sleep(0.2)

    def stop_monitor(self) -> None:
        """Lets what it has in hand come to an end: its threads must not outlive the model of AWS."""
        provider = self.autoscaler._cloud_instance_provider
        threads = [provider._main_executor, provider._node_launcher_executors]
        for subscriber in self.autoscaler._instance_manager._status_update_subscribers:
            threads += [made for made in [getattr(subscriber, "_ray_installation_executor", None)] if made]
        assert len(threads) == 3
        for executor in threads:
            executor.shutdown(wait=True)

    def down(self) -> None:
        from ray.autoscaler._private import commands

        commands.teardown_cluster(
            str(self.path), yes=True, workers_only=False, override_cluster_name=None, keep_min_workers=False
        )

    def instances(self) -> dict[str, list[Any]]:
        """Those that are not ended, by the node type in their tags."""
        found: dict[str, list[Any]] = {}
        running = [{"Name": "instance-state-name", "Values": ["pending", "running"]}]
        for instance in self.ec2.instances.filter(Filters=running):
            found.setdefault(tags_of(instance)["ray-user-node-type"], []).append(instance)
        return found

    def markets(self, kind: str) -> list[str]:
        """`spot` or `on demand`, for each instance of a node type."""
        return sorted(instance.instance_lifecycle or "on demand" for instance in self.instances().get(kind, []))


def tags_of(instance: Any) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in instance.tags}


@pytest.fixture(scope="module", params=["aws.yaml", "aws-docker.yaml"])
def raised(
    request: pytest.FixtureRequest, aws: Any, filled: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """After `ray up`; the records hold what it asked."""
    from botocore.client import BaseClient
    from botocore.exceptions import ClientError
    from ray.autoscaler._private import commands, providers

    providers._clear_provider_cache()
    folder, home = tmp_path_factory.mktemp("up"), Path.home()
    assert home.name.startswith("home"), "not the real one"
    (home / ".ray").mkdir(exist_ok=True)
    (home / ".ray/auth_token").write_text("of a test", encoding="utf-8")
    if not (home / "genre_ray").exists():
        (home / "genre_ray").symlink_to(REPOSITORY)  # on the head, where `ray up` puts the mounts
    records = Records(folder, ENVIRONMENT)
    path = folder / request.param
    path.write_text(yaml.safe_dump(filled(request.param)), encoding="utf-8")
    made = Cluster(aws, path, records)
    call = BaseClient._make_api_call

    def answering(client: Any, operation: str, given: dict[str, Any]) -> Any:
        code = made.refused(given) if operation == "RunInstances" else None
        if code is not None:
            raise ClientError({"Error": {"Code": code, "Message": "of a test"}}, operation)
        return call(client, operation, given)

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(REPOSITORY)  # the mounts of the file count from here
        for name, value in records.variables().items():
            patch.setenv(name, value)
        patch.setattr(commands, "POLL_INTERVAL", 0.1)
        patch.setattr(BaseClient, "_make_api_call", answering)
        made.up()
        yield made
        made.down()


@pytest.fixture
def cluster(raised: Cluster) -> Iterator[Cluster]:
    """With a head, no worker, and a monitor that has just started."""
    raised.start_monitor()
    yield raised
    raised.stop_monitor()
    raised.refused = lambda asked: None
    for kind, instances in raised.instances().items():
        for instance in instances if kind != "head" else ():
            instance.terminate()


def test_ray_up_makes_a_head_and_sends_it_what_the_file_says(raised: Cluster, foundation: dict[str, str]) -> None:
    (head,) = raised.instances().pop("head")
    assert {
        "ray-node-type": "head", "ray-cluster-name": "genre-ray", "Name": "ray-genre-ray-head",
        "ray-node-status": "up-to-date",
    }.items() <= tags_of(head).items()  # fmt: skip
    assert head.iam_instance_profile["Arn"].endswith("genre-ray-head")
    assert [group["GroupId"] for group in head.security_groups] == [foundation["SecurityGroupId"]]
    written = yaml.safe_load(raised.path.read_text(encoding="utf-8"))
    commands = [plain(line) for line in raised.records.take("ssh")]
    asked = written["initialization_commands"] + written["setup_commands"] + written["head_setup_commands"]
    places = [next(i for i, line in enumerate(commands) if plain(command) in line) for command in asked]
    assert places == sorted(places)
    (start,) = [line for line in commands if "ray start --head" in line]
    assert "RAY_enable_autoscaler_v2=1" in start
    assert ("docker exec" in start) == ("docker" in written)
    if "docker" in written:
        (run,) = [line for line in commands if "docker run" in line]
        assert "/.ray/auth_token:~/.ray/auth_token" in run
        assert "--net=host" in run
        assert written["docker"]["image"] in run
    sent = raised.records.take("rsync")
    assert all(any(mount.removeprefix("~") in line for line in sent) for mount in written["file_mounts"])


def test_a_second_ray_up_makes_nothing(raised: Cluster) -> None:
    before = [head.id for head in raised.instances()["head"]]
    raised.up()
    assert {kind: [node.id for node in nodes] for kind, nodes in raised.instances().items()} == {"head": before}


@pytest.mark.parametrize(
    ("kind", "bundle", "variant"), [("cpu_spot", {"CPU": 1}, "cpu"), ("gpu_spot", {"CPU": 1, "GPU": 1}, "cuda")]
)
def test_a_demand_makes_a_spot_machine_and_sets_it_up(
    cluster: Cluster, kind: str, bundle: dict[str, float], variant: str
) -> None:
    lines: list[str] = []

    def started() -> bool:
        lines.extend(plain(line) for line in cluster.records.take("ssh"))
        return any("ray start --address" in line for line in lines)

    cluster.records.take("ssh")
    cluster.demand(bundle, 1, until=started, seconds=60)
    (made,) = cluster.instances()[kind]
    assert made.instance_lifecycle == "spot"
    assert made.iam_instance_profile["Arn"].endswith("genre-ray-worker")
    (start,) = [line for line in lines if "ray start --address" in line]
    assert f"RAY_CLOUD_INSTANCE_ID={made.id}" in start
    assert "RAY_HEAD_IP=10.0.0.1" in start
    pulled = [line.rpartition("docker pull ")[2] for line in lines if "docker pull" in line]
    docker = "docker" in cluster.path.name
    assert [image.rpartition("-")[2].rstrip(")") for image in pulled] == ([variant] if docker else [])


@pytest.mark.parametrize("code", ["InsufficientInstanceCapacity", "MaxSpotInstanceCountExceeded", "SpotMaxPriceTooLow"])
def test_where_spot_is_refused_the_same_machine_is_made_on_demand(cluster: Cluster, code: str) -> None:
    cluster.refused = of_spot(code)
    cluster.demand({"CPU": 1, "GPU": 1}, 1, until=lambda: "gpu_spot" in cluster.instances())
    (made,) = cluster.instances()["gpu_spot"]
    assert made.instance_lifecycle is None
    assert made.instance_type == "g6.xlarge"


def test_no_more_stand_in_than_the_file_allows_and_the_rest_waits_for_spot(cluster: Cluster) -> None:
    cluster.refused = of_spot("InsufficientInstanceCapacity")
    cluster.demand({"CPU": 1, "GPU": 1}, 4, until=lambda: len(cluster.markets("gpu_spot")) == 2, seconds=60)
    cluster.demand({"CPU": 1, "GPU": 1}, 4, until=lambda: len(cluster.markets("gpu_spot")) > 2, seconds=4)
    assert cluster.markets("gpu_spot") == ["on demand"] * 2
    cluster.refused = lambda asked: None
    cluster.demand({"CPU": 1, "GPU": 1}, 4, until=lambda: len(cluster.markets("gpu_spot")) > 3)
    assert cluster.markets("gpu_spot") == ["on demand"] * 2 + ["spot"] * 2


def test_where_spot_gives_some_only_the_rest_is_made_on_demand(cluster: Cluster) -> None:
    given = itertools.count()
    cluster.refused = lambda asked: (
        "InsufficientInstanceCapacity" if "InstanceMarketOptions" in asked and next(given) else None
    )
    cluster.demand({"CPU": 1, "GPU": 1}, 2, until=lambda: len(cluster.markets("gpu_spot")) == 2)
    assert cluster.markets("gpu_spot") == ["on demand", "spot"]


@pytest.mark.parametrize(
    ("bundle", "code"), [({"CPU": 16}, "InsufficientInstanceCapacity"), ({"GPU": 1}, "UnauthorizedOperation")]
)
def test_nothing_stands_in_for_a_type_that_is_not_named_or_after_another_error(
    cluster: Cluster, bundle: dict[str, float], code: str
) -> None:
    asked: list[bool] = []

    def refuse(given: dict[str, Any]) -> str | None:
        asked.append("InstanceMarketOptions" in given)
        return code if asked[-1] else None

    cluster.refused = refuse
    cluster.demand(bundle, 1, until=lambda: len(asked) > 10)  # five attempts a request
    assert len(asked) > 10
    assert all(asked)
    assert list(cluster.instances()) == ["head"]


def test_ray_down_ends_everything(cluster: Cluster) -> None:
    cluster.demand({"CPU": 1, "GPU": 1}, 1, until=lambda: "gpu_spot" in cluster.instances())
    cluster.stop_monitor()
    cluster.down()
    assert cluster.instances() == {}


def plain(command: str) -> str:
    """Without the quotes and home folders that Ray lays around and into a command."""
    return " ".join(command.replace("/home/ray/", "~/").replace("\\", "").replace("'", "").replace('"', "").split())
