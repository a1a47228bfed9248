"""`ray up cluster/aws.yaml` against a model of AWS (moto), from the one-time set-up to instances of every node type.

What this proves: the CloudFormation template passes AWS's linter and deploys in moto's model, and what it makes is
closed to the world and of least privilege as written; Ray 2.60 resolves the filled-in file (key pair, subnets, group,
profiles, resources) without falling back to any default of its own; the call that it then makes to EC2 carries what the
file says, for the head and for each worker type, and the autoscaler's own call ends the instance again. `ray up` itself
makes one head with the tags by which it is found again and hands it the commands of the file; from the configuration
that the head is given, the autoscaler's launcher makes workers of each type; a second `ray up` makes nothing, and `ray
down` ends everything. Only what goes over SSH is recorded instead of run.

What it cannot prove: that AWS has capacity or quota, that the images exist in the region (moto knows no resolve:ssm:,
so one of its own stands in), that the policies suffice (moto does not weigh their conditions), that SSH, the setup
commands and Ray itself work on the instances.
"""

import copy
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

boto3 = pytest.importorskip("boto3", reason="boto3 is not installed")
moto = pytest.importorskip("moto", reason="moto is not installed")

CLUSTER = Path(__file__).parents[3] / "cluster"
TEMPLATE = CLUSTER / "aws-foundation.json"
REGION = "us-west-2"
MARKET = {"head": None, "cpu_spot": "spot", "gpu_spot": "spot", "gpu_on_demand": None}


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """An account with a default VPC and nothing else; no call leaves the process."""
    from ray.autoscaler._private.aws import config, utils

    with pytest.MonkeyPatch.context() as patch, moto.mock_aws():
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN"):
            patch.setenv(name, "testing")
        patch.delenv("AWS_PROFILE", raising=False)
        patch.setenv("AWS_DEFAULT_REGION", REGION)
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))  # Ray keeps the key pair that it makes in ~/.ssh
        # Ray keeps clients and subnets over calls; those of another account must not be met here, nor these elsewhere.
        caches = (utils.resource_cache, utils.client_cache, config._get_subnets_or_die)
        for cache in caches:
            cache.cache_clear()
        yield
        for cache in caches:
            cache.cache_clear()


@pytest.fixture(scope="module")
def foundation(aws: None) -> dict[str, str]:
    """The outputs of cluster/aws-foundation.json, deployed."""
    vpc = next(iter(boto3.resource("ec2", REGION).vpcs.filter(Filters=[{"Name": "is-default", "Values": ["true"]}])))
    parameters = {"VpcId": vpc.id, "SshCidr": "203.0.113.7/32", "BucketName": "music-of-a-test"}
    client = boto3.client("cloudformation", REGION)
    client.create_stack(
        StackName="genre-ray",
        TemplateBody=TEMPLATE.read_text(encoding="utf-8"),
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
        Capabilities=["CAPABILITY_NAMED_IAM"],
    )
    (stack,) = client.describe_stacks(StackName="genre-ray")["Stacks"]
    assert stack["StackStatus"] == "CREATE_COMPLETE"
    return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}


@pytest.fixture(scope="module")
def document(foundation: dict[str, str]) -> dict[str, Any]:
    """cluster/aws.yaml, filled in. moto knows no resolve:ssm:, so the image is looked up here as AWS would do it."""
    text = (CLUSTER / "aws.yaml").read_text(encoding="utf-8")
    text = text.replace("sg-FILL_IN", foundation["SecurityGroupId"]).replace("FILL_IN_BUCKET", foundation["Bucket"])
    content: dict[str, Any] = yaml.safe_load(text)
    image = boto3.client("ec2", REGION).describe_images()["Images"][0]["ImageId"]
    for node in content["available_node_types"].values():
        assert node["node_config"]["ImageId"].startswith("resolve:ssm:/aws/service/")
        node["node_config"]["ImageId"] = image
    return content


@pytest.fixture(scope="module")
def resolved(document: dict[str, Any]) -> dict[str, Any]:
    """The file as `ray up` resolves it before it makes the head."""
    from ray.autoscaler._private.commands import _bootstrap_config

    return _bootstrap_config(copy.deepcopy(document), no_config_cache=True)


def test_the_template_passes_the_linter_of_cloudformation() -> None:
    lint = pytest.importorskip("cfnlint.api", reason="cfn-lint is not installed")
    assert [str(match) for match in lint.lint_file(TEMPLATE)] == []


def test_the_group_lets_in_ssh_from_one_range_and_the_nodes_and_nothing_else(foundation: dict[str, str]) -> None:
    group = boto3.resource("ec2", REGION).SecurityGroup(foundation["SecurityGroupId"])
    rules = sorted(group.ip_permissions, key=lambda rule: rule["IpProtocol"])
    everything, ssh = rules
    assert everything["IpProtocol"] == "-1"
    assert everything["IpRanges"] == []
    assert [pair["GroupId"] for pair in everything["UserIdGroupPairs"]] == [group.id]
    assert (ssh["FromPort"], ssh["ToPort"]) == (22, 22)
    assert [entry["CidrIp"] for entry in ssh["IpRanges"]] == ["203.0.113.7/32"]


@pytest.mark.parametrize("cidr", ["0.0.0.0/0", "10.0.0.0/8", "203.0.113.7"])
def test_the_template_refuses_a_range_that_is_too_wide(cidr: str) -> None:
    template = json.loads(TEMPLATE.read_text(encoding="utf-8"))
    pattern = template["Parameters"]["SshCidr"]["AllowedPattern"]
    assert not re.fullmatch(pattern, cidr)
    assert re.fullmatch(pattern, "203.0.113.7/32")


def test_workers_may_use_the_bucket_and_nothing_else(foundation: dict[str, str]) -> None:
    allowed = _allowed(foundation["WorkerProfileName"])
    assert {action.split(":")[0] for actions, _ in allowed for action in actions} == {"s3"}
    assert all(
        resource.startswith("arn:aws:s3:::music-of-a-test") for _, resources in allowed for resource in resources
    )


def test_no_statement_of_the_head_has_a_wildcard_action_or_an_unbound_resource(foundation: dict[str, str]) -> None:
    allowed = _allowed(foundation["HeadProfileName"])
    actions = {action for given, _ in allowed for action in given}
    assert not any("*" in action for action in actions)
    # Only looking at instances has no narrower form in IAM.
    assert [given for given, resources in allowed if "*" in resources] == [["ec2:DescribeInstances"]]
    assert {"ec2:RunInstances", "ec2:TerminateInstances", "ec2:CreateTags", "iam:PassRole"} <= actions


def test_ray_takes_every_access_from_the_file_and_makes_none_of_its_own(
    resolved: dict[str, Any], foundation: dict[str, str]
) -> None:
    groups = boto3.client("ec2", REGION).describe_security_groups()["SecurityGroups"]
    assert not [group for group in groups if group["GroupName"].startswith("ray-autoscaler")]
    roles = boto3.client("iam").list_roles()["Roles"]
    assert sorted(role["RoleName"] for role in roles) == ["genre-ray-head", "genre-ray-worker"]
    for node in resolved["available_node_types"].values():
        assert node["node_config"]["SecurityGroupIds"] == [foundation["SecurityGroupId"]]


def test_ray_finds_the_resources_of_each_type_and_keeps_the_head_free(resolved: dict[str, Any]) -> None:
    kinds = resolved["available_node_types"]
    assert kinds["head"]["resources"]["CPU"] == 0
    assert kinds["cpu_spot"]["resources"]["CPU"] == 16
    for name in ("gpu_spot", "gpu_on_demand"):
        assert {key: kinds[name]["resources"][key] for key in ("CPU", "GPU")} == {"CPU": 4, "GPU": 1}


def test_subnets_are_tried_in_the_order_of_the_zones(resolved: dict[str, Any]) -> None:
    ec2 = boto3.resource("ec2", REGION)
    subnets = resolved["available_node_types"]["head"]["node_config"]["SubnetIds"]
    assert [ec2.Subnet(subnet).availability_zone for subnet in subnets] == [f"{REGION}{zone}" for zone in "abc"]


@pytest.mark.parametrize("name", list(MARKET))
def test_an_instance_of_each_type_is_what_the_file_says(
    name: str, resolved: dict[str, Any], document: dict[str, Any], foundation: dict[str, str]
) -> None:
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider

    provider = AWSNodeProvider(resolved["provider"], resolved["cluster_name"])
    config = copy.deepcopy(resolved["available_node_types"][name]["node_config"])
    tags = {"ray-node-name": f"ray-{name}", "ray-node-type": "worker", "ray-user-node-type": name}
    provider.create_node(config, tags, 1)
    (node,) = provider.non_terminated_nodes({"ray-user-node-type": name})
    written = document["available_node_types"][name]["node_config"]
    instance = boto3.resource("ec2", REGION).Instance(node)
    assert instance.instance_type == written["InstanceType"]
    assert instance.instance_lifecycle == MARKET[name]
    assert [group["GroupId"] for group in instance.security_groups] == [foundation["SecurityGroupId"]]
    assert instance.iam_instance_profile["Arn"].endswith(written["IamInstanceProfile"]["Name"])
    assert instance.metadata_options["HttpTokens"] == "required"
    assert {"Key": "ray-cluster-name", "Value": "genre-ray"} in instance.tags
    (volume,) = instance.volumes.all()
    assert (volume.size, volume.encrypted, volume.volume_type) == (100, True, "gp3")
    provider.terminate_nodes([node])
    assert provider.non_terminated_nodes({}) == []


@dataclass
class Setup:
    """What Ray would have done to a node over SSH."""

    asked: list[dict[str, Any]]

    def __call__(self, **asked: Any) -> "Setup":
        copied = Path(asked["file_mounts"]["~/ray_bootstrap_config.yaml"])  # removed when Ray is done
        self.asked.append(asked | {"bootstrap": yaml.safe_load(copied.read_text(encoding="utf-8"))})
        return self

    exitcode = 0

    def start(self) -> None:
        """As a thread."""

    def join(self) -> None:
        """As a thread."""


def instances() -> dict[str, list[Any]]:
    """Instances that are not ended, by the node type in their tags."""
    found: dict[str, list[Any]] = {}
    running = [{"Name": "instance-state-name", "Values": ["pending", "running"]}]
    for instance in boto3.resource("ec2", REGION).instances.filter(Filters=running):
        tags = {tag["Key"]: tag["Value"] for tag in instance.tags}
        found.setdefault(tags["ray-user-node-type"], []).append(instance)
    return found


def test_ray_up_makes_a_head_its_autoscaler_the_workers_and_ray_down_ends_them(
    document: dict[str, Any], resolved: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray.autoscaler._private import commands
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
    from ray.autoscaler._private.event_summarizer import EventSummarizer
    from ray.autoscaler._private.node_launcher import BaseNodeLauncher
    from ray.autoscaler._private.node_provider_availability_tracker import NodeProviderAvailabilityTracker

    monkeypatch.chdir(CLUSTER.parent)  # the mounts of the file count from here
    token = Path("~/.ray/auth_token").expanduser()
    token.parent.mkdir(exist_ok=True)
    token.write_text("of a test", encoding="utf-8")
    setup = Setup([])
    monkeypatch.setattr(commands, "NodeUpdaterThread", setup)
    monkeypatch.setattr(commands, "exec_cluster", lambda *args, **more: None)
    monkeypatch.setattr(commands, "POLL_INTERVAL", 0.1)
    path = tmp_path / "aws.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")

    def up() -> None:
        commands.get_or_create_head_node(
            copy.deepcopy(resolved),
            str(path),
            no_restart=False,
            restart_only=False,
            yes=True,
            override_cluster_name=None,
        )

    up()
    (head,) = instances()["head"]
    tags = {tag["Key"]: tag["Value"] for tag in head.tags}
    assert {
        "ray-node-type": "head",
        "ray-cluster-name": "genre-ray",
        "Name": "ray-genre-ray-head",
    }.items() <= tags.items()
    assert head.iam_instance_profile["Arn"].endswith("genre-ray-head")
    (asked,) = setup.asked
    assert asked["is_head_node"]
    assert asked["setup_commands"] == [*document["setup_commands"], *document["head_setup_commands"]]
    assert any("ray start --head" in command for command in asked["ray_start_commands"])
    assert set(document["file_mounts"]) <= set(asked["file_mounts"])

    # What the autoscaler on the head reads; the home folder here is in its place.
    shutil.copy(asked["file_mounts"]["~/ray_bootstrap_key.pem"], Path("~/ray_bootstrap_key.pem").expanduser())
    given = asked["bootstrap"]
    provider = AWSNodeProvider(given["provider"], given["cluster_name"])
    launcher = BaseNodeLauncher(
        provider,
        pending=Pending(),
        event_summarizer=EventSummarizer(),
        node_provider_availability_tracker=NodeProviderAvailabilityTracker(),
        session_name="test",
        node_types=given["available_node_types"],
    )
    for kind in ["cpu_spot", "gpu_spot", "gpu_on_demand"] * 2:  # moto makes MinCount, not MaxCount: one at a time
        launcher.launch_node(given, 1, kind)
    made = instances()
    assert {kind: len(nodes) for kind, nodes in made.items()} == {
        "head": 1, "cpu_spot": 2, "gpu_spot": 2, "gpu_on_demand": 2,
    }  # fmt: skip
    for kind, nodes in made.items():
        for node in nodes:
            assert node.instance_lifecycle == MARKET[kind]
            profile = "genre-ray-head" if kind == "head" else "genre-ray-worker"
            assert node.iam_instance_profile["Arn"].endswith(profile)

    up()
    assert {kind: len(nodes) for kind, nodes in instances().items()} == {
        kind: len(nodes) for kind, nodes in made.items()
    }
    commands.teardown_cluster(
        str(path), yes=True, workers_only=False, override_cluster_name=None, keep_min_workers=False
    )
    assert instances() == {}


class Pending:
    """The autoscaler's count of launches that are on their way."""

    def dec(self, node_type: str, count: int) -> None:
        """Launched."""


def _allowed(profile: str) -> list[tuple[list[str], list[str]]]:
    """Actions and resources of every statement of the role in an instance profile."""
    iam = boto3.resource("iam")
    (role,) = iam.InstanceProfile(profile).roles
    documents = [policy.policy_document for policy in role.policies.all()]
    # AWS answers with the parsed document, moto with its text, in Python's quotes; YAML reads those as well.
    parsed = [yaml.safe_load(document) if isinstance(document, str) else document for document in documents]
    statements = [entry for document in parsed for entry in document["Statement"]]
    assert list(role.attached_policies.all()) == []
    assert all(entry["Effect"] == "Allow" for entry in statements)
    return [(_many(entry["Action"]), _many(entry["Resource"])) for entry in statements]


def _many(value: object) -> list[str]:
    return [str(part) for part in value] if isinstance(value, list) else [str(value)]
