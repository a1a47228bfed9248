"""The one-time set-up of cluster/README.md and what Ray makes of cluster/aws.yaml in it, against a model of AWS (moto).

What this proves: the CloudFormation template passes AWS's linter and deploys in moto's model, and what it makes is
closed to the world and of least privilege as written; Ray 2.60 resolves the filled-in file (key pair, subnets, group,
profiles, resources) without falling back to any default of its own; the call that it then makes to EC2 carries what the
file says, for the head and for each worker type. test_aws_up.py runs `ray up`, the autoscaler and `ray down`.

What it cannot prove: that the policies suffice (moto does not weigh their conditions), that the images exist.
"""

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

boto3 = pytest.importorskip("boto3", reason="boto3 is not installed")

TEMPLATE = Path(__file__).parents[3] / "cluster" / "aws-foundation.json"
REGION = "us-west-2"
MARKET = {"head": None, "cpu_spot": "spot", "gpu_spot": "spot"}


@pytest.fixture(scope="module")
def document(filled: Any) -> dict[str, Any]:
    content: dict[str, Any] = filled("aws.yaml")
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


def test_workers_may_use_the_bucket_read_the_image_and_nothing_else(foundation: dict[str, str]) -> None:
    allowed = _allowed(foundation["WorkerProfileName"])
    assert {action.split(":")[0] for actions, _ in allowed for action in actions} == {"s3", "ecr"}
    assert not [action for actions, _ in allowed for action in actions if action.startswith("ecr:Put")]
    assert [actions for actions, resources in allowed if "*" in resources] == [["ecr:GetAuthorizationToken"]]
    assert all(
        resource.startswith("arn:aws:s3:::music-of-a-test") or resource.endswith(":repository/genre-ray")
        for _, resources in allowed
        for resource in resources
        if resource != "*"
    )


def test_without_an_image_the_nodes_may_read_none() -> None:
    template = json.loads(TEMPLATE.read_text(encoding="utf-8"))
    assert template["Parameters"]["ImageRepository"]["Default"] == ""
    assert template["Resources"]["ReadImage"]["Condition"] == "HasRepository"
    others = {name: made for name, made in template["Resources"].items() if name != "ReadImage"}
    assert "ecr:" not in json.dumps(others)


def test_no_statement_of_the_head_has_a_wildcard_action_or_an_unbound_resource(foundation: dict[str, str]) -> None:
    allowed = _allowed(foundation["HeadProfileName"])
    actions = {action for given, _ in allowed for action in given}
    assert not any("*" in action for action in actions)
    # These two have no narrower form in IAM.
    unbound = sorted(given for given, resources in allowed if "*" in resources)
    assert unbound == [["ec2:DescribeInstances"], ["ecr:GetAuthorizationToken"]]
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
    assert {key: kinds["gpu_spot"]["resources"][key] for key in ("CPU", "GPU")} == {"CPU": 4, "GPU": 1}


def test_subnets_are_tried_in_the_order_of_the_zones(resolved: dict[str, Any]) -> None:
    ec2 = boto3.resource("ec2", REGION)
    subnets = resolved["available_node_types"]["head"]["node_config"]["SubnetIds"]
    assert [ec2.Subnet(subnet).availability_zone for subnet in subnets] == [f"{REGION}{zone}" for zone in "abc"]


@pytest.mark.parametrize("name", list(MARKET))
def test_an_instance_of_each_type_is_what_the_file_says(
    name: str, resolved: dict[str, Any], document: dict[str, Any], foundation: dict[str, str]
) -> None:
    from genre_ray.cluster.provider import SpotFirst

    provider = SpotFirst(resolved["provider"], resolved["cluster_name"])
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
