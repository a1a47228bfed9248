"""The launcher's files: the shipped ones are right, and what Ray lets pass is found."""

import copy
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from genre_ray.cluster import spot, validate

Read = Callable[[str], str]
Check = Callable[[str], list[str]]

SILENT = [
    pytest.param("region: us-west-2", "regoin: us-west-2", "provider.regoin: unknown key", id="provider key"),
    pytest.param("region: us-west-2", "region: us-west-9", "provider.region: no AWS region", id="region"),
    pytest.param("us-west-2c", "us-east-1c", "provider.availability_zone: is no zone of us-west-2", id="zone"),
    pytest.param("cache_stopped_nodes", "cached_stopped_nodes", "did you mean cache_stopped_nodes?", id="near miss"),
    pytest.param(
        "InstanceType: c7i.4xlarge", "InstanceTyp: c7i.4xlarge", "did you mean InstanceType?", id="node field"
    ),
    pytest.param("c7i.4xlarge", "c7i.5xlarge", "unknown instance type (value c7i.5xlarge)", id="instance type"),
    pytest.param("VolumeType: gp3", "VolumeType: gp4", "Ebs.VolumeType: not one of the allowed words", id="word"),
    pytest.param("VolumeSize: 100", "VolumeSize: '100'", "Ebs.VolumeSize: is not a whole number", id="quoted number"),
    pytest.param("Encrypted: true", "Encrypted: 'yes'", "Ebs.Encrypted: is not true or false", id="quoted boolean"),
    pytest.param("Ebs: {Vol", "EBS: {Vol", "BlockDeviceMappings.0.EBS: unknown field", id="nested field"),
    pytest.param("{MarketType: spot}", "{MarketTyp: spot}", "did you mean MarketType?", id="market"),
    pytest.param("HttpTokens: required", "HttpTokens: must", "known: optional, required", id="metadata"),
    pytest.param("{Name: genre-ray-head}", "genre-ray-head", "IamInstanceProfile: is not a mapping", id="profile"),
    pytest.param("sg-0123456789abcdef0", "my-group", "SecurityGroupIds.0: is no id (value my-group)", id="group id"),
    pytest.param("resolve:ssm:/aws/service/canonical", "ubuntu", "ImageId: is no image", id="image"),
    pytest.param(
        "pyproject.toml: pyproject.toml", "pyproject.toml: pyproj.toml", "is not there (value pyproj", id="mount"
    ),
    pytest.param(
        "~/.ray/auth_token: ~/.ray/auth_token", "~/t: ~/.ray/auth_tok", "file_mounts.~/t: is not there", id="token"
    ),
    pytest.param("--dashboard-host=127", "--dashbord-host=127", "no option of `ray start`", id="option"),
    pytest.param("=127.0.0.1", "=0.0.0.0", "opens the dashboard, which runs any code", id="open dashboard"),
    pytest.param("--autoscaling-config=~/ray_bootstrap_config.yaml", "", "lacks --autoscaling-config", id="no scaling"),
    pytest.param("ray start --address=$RAY_HEAD_IP:6379", "ray start", "lacks --address", id="worker alone"),
    pytest.param("max_workers: 16", "max_workers: 60", "exceeds max_workers of the whole cluster, 24", id="sizes"),
    pytest.param("idle_timeout_minutes: 5", "idle_timeout_minutes: 0", "is not above 0 (value 0)", id="idle"),
    pytest.param("cluster_name: genre-ray", "cluster_name: 'genre ray'", "no name for a tag", id="name"),
]
"""Each is a change to cluster/aws.yaml that Ray's own validation takes without a word."""


@pytest.mark.parametrize("name", ["aws.yaml", "aws-docker.yaml", "gcp.yaml", "local.yaml"])
def test_a_shipped_file_lacks_only_what_its_user_must_fill_in(name: str, shipped: Path, workplace: Path) -> None:
    lines = validate(shipped / name)
    assert lines
    assert all("still to be filled in" in line and "; write " in line for line in lines)


@pytest.mark.parametrize("name", ["aws.yaml", "aws-docker.yaml", "gcp.yaml", "local.yaml"])
def test_a_shipped_file_filled_in_has_no_problem(name: str, filled: Read, problems_of: Check) -> None:
    assert problems_of(filled(name)) == []


@pytest.mark.parametrize(("right", "wrong", "said"), SILENT)
def test_what_ray_lets_pass_is_found(right: str, wrong: str, said: str, filled: Read, problems_of: Check) -> None:
    text = filled("aws.yaml")
    assert right in text
    broken = text.replace(right, wrong)
    document = yaml.safe_load(broken)
    prepared = prepare_config(copy.deepcopy(document))
    validate_config(prepared)
    lines = problems_of(broken)
    assert any(said in line for line in lines), lines
    assert all(re.match(r"[\w.~/()-]+: .+; .+", line) for line in lines), "each names field, fault and remedy"


def test_typos_that_ray_finds_are_all_reported_at_once(filled: Read, problems_of: Check) -> None:
    text = (
        filled("aws.yaml").replace("upscaling_speed:", "upscalling_speed:").replace("min_workers: 0", "min_wrkers: 0")
    )
    lines = problems_of(text)
    assert any("upscalling_speed: unknown key" in line and "did you mean upscaling_speed?" in line for line in lines)
    assert any("gpu_spot.min_wrkers: unknown key (value 0)" in line for line in lines)


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("SecurityGroupIds", "lets SSH in from 0.0.0.0/0"),
        ("IamInstanceProfile", "full access to EC2 and S3"),
        ("ImageId", "Ubuntu 18.04"),
        ("InstanceType", "InstanceType: is missing"),
    ],
)
def test_a_field_whose_absence_ray_fills_badly_is_demanded(
    field: str, said: str, filled: Read, problems_of: Check
) -> None:
    document = yaml.safe_load(filled("aws.yaml"))
    del document["available_node_types"]["head"]["node_config"][field]
    lines = problems_of(yaml.safe_dump(document))
    assert [line for line in lines if said in line] == lines


def test_a_rule_that_opens_a_port_to_the_world_is_found(filled: Read, problems_of: Check) -> None:
    document = yaml.safe_load(filled("aws.yaml"))
    rule = {"FromPort": 8265, "ToPort": 8265, "IpProtocol": "tcp", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    document["provider"]["security_group"] = {"GroupName": "mine", "IpPermissions": [rule]}
    assert any("opens a port to the world (value 0.0.0.0/0)" in line for line in problems_of(yaml.safe_dump(document)))


def test_a_private_key_wants_the_name_of_its_pair_for_every_type(filled: Read, problems_of: Check) -> None:
    lines = problems_of(filled("aws.yaml").replace("ssh_user: ubuntu", "ssh_user: ubuntu\n  ssh_private_key: ~/k.pem"))
    assert sum("node_config.KeyName: is missing" in line for line in lines) == 3
    assert any("auth.ssh_private_key: is not there (value ~/k.pem)" in line for line in lines)


def test_credentials_in_the_file_are_found_and_not_repeated(filled: Read, problems_of: Check) -> None:
    secret = "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY"
    text = filled("aws.yaml").replace(
        "  type: external\n",
        f"  type: external\n  aws_credentials: {{aws_access_key_id: AKIAIOSFODNN7EXAMPLE, aws_secret_key: {secret}}}\n",
    )
    lines = problems_of(text)
    assert any("provider.aws_credentials: holds credentials" in line for line in lines)
    assert any("looks like a secret" in line for line in lines)
    assert not any(secret in line for line in lines)


def test_what_ray_sets_itself_is_refused(filled: Read, problems_of: Check) -> None:
    text = filled("aws.yaml").replace("InstanceType: g6.xlarge", "MinCount: 3\n      InstanceType: g6.xlarge")
    assert sum("MinCount: is set by Ray itself (value 3)" in line for line in problems_of(text)) == 1


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("image: x", "imagee: x", "docker.imagee: unknown key"),
        ("container_name: c", "container_nam: c", "did you mean container_name?"),
        ("image: x", "head_image: x", "docker.image: is missing"),
    ],
)
def test_keys_of_the_docker_section_are_checked(
    right: str, wrong: str, said: str, filled: Read, problems_of: Check
) -> None:
    text = filled("aws.yaml") + "\ndocker:\n  image: x\n  container_name: c\n"
    assert problems_of(text) == []
    assert any(said in line for line in problems_of(text.replace(right, wrong)))


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("machineType: n2-standard-4", "machineType: n2-standrad-4", "unknown machine type (value n2-standrad-4)"),
        ("machineType: n2-standard-4", "machineType: n2-standard-5", "unknown machine type (value n2-standard-5)"),
        ("sourceImage:", "sourceimage:", "did you mean sourceImage?"),
        ("autoDelete: true", "autodelete: true", "disks.0.autodelete: unknown field"),
        ("provisioningModel: SPOT", "provisioningModel: SPOTT", "not one of the allowed words (value SPOTT)"),
        ("onHostMaintenance: TERMINATE", "onHostMaintenance: MIGRATE", "is not TERMINATE, and a machine with a GPU"),
        ("availability_zone: us-central1-a", "availability_zone: us-east1-a", "is no zone of us-central1"),
        ("project_id: project-of-a-test", "project_id: My Project", "is no project id (value My Project)"),
        ("project_id:", "projectid:", "did you mean project_id?"),
        ("scopes: [https", "scope: [https", "serviceAccounts.0.scope: unknown field"),
    ],
)
def test_google_cloud_files_are_checked_as_closely(
    right: str, wrong: str, said: str, filled: Read, problems_of: Check
) -> None:
    text = filled("gcp.yaml")
    assert right in text
    assert any(said in line for line in problems_of(text.replace(right, wrong)))


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("head_ip:", "headip:", "did you mean head_ip?"),
        ("10.0.0.2", "10.0.0.299", "provider.worker_ips.0: is no address"),
        ("10.0.0.2", "10.0.0.1", "is named twice (value 10.0.0.1)"),
        ("worker_ips: [10.0.0.2, node-2.example.org]", "worker_ips: 10.0.0.2", "worker_ips: is not a list"),
    ],
)
def test_files_for_machines_at_hand_are_checked(
    right: str, wrong: str, said: str, filled: Read, problems_of: Check
) -> None:
    text = filled("local.yaml")
    assert right in text
    assert any(said in line for line in problems_of(text.replace(right, wrong)))


def test_a_provider_that_cannot_be_checked_is_not_called_right(problems_of: Check) -> None:
    lines = problems_of("cluster_name: a\nprovider: {type: azure}\n")
    assert lines == [
        "provider.type: not a provider that can be checked here (value azure); known: aws, external, gcp, local"
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [1\n", "not valid YAML"),
        ("a: 1\na: 2\n", "key 'a' is given twice"),
        ("", "is empty"),
        ("- 1\n", "is not a mapping"),
        ("hello: 1\n", "neither a file of Ray's launcher nor a Kubernetes manifest"),
    ],
)
def test_a_file_of_no_known_kind_says_so(text: str, said: str, problems_of: Check) -> None:
    lines = problems_of(text)
    assert len(lines) == 1
    assert said in lines[0]


def test_a_missing_file_is_a_problem_and_no_traceback(workplace: Path) -> None:
    assert "cannot be read" in validate(Path("nowhere.yaml"))[0]


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        (
            "{gpu_spot: 2}",
            "{gpu_spott: 2}",
            "provider.on_demand.gpu_spott: no node type on spot (value 2); did you mean",
        ),
        ("{gpu_spot: 2}", "{head: 2}", "provider.on_demand.head: no node type on spot"),
        ("{gpu_spot: 2}", "{gpu_spot: -1}", "provider.on_demand.gpu_spot: is no number of machines (value -1)"),
        ("{gpu_spot: 2}", "2", "provider.on_demand: is no mapping (value 2)"),
        ("  module: genre_ray.cluster.provider.SpotFirst\n", "", "provider.module: is missing; name"),
        ("type: external", "type: aws", "provider.on_demand: is not read by aws"),
        ("provider.SpotFirst", "provider.SpotFrist", "provider.module: no node provider"),
        ("genre_ray.cluster.provider.", "genre_ray.provider.", "provider.module: no node provider"),
    ],
)
def test_what_stands_in_for_spot_is_checked(
    right: str, wrong: str, said: str, filled: Read, problems_of: Check
) -> None:
    text = filled("aws.yaml")
    assert right in text
    assert any(said in line for line in problems_of(text.replace(right, wrong)))


def test_the_module_that_the_files_name_is_the_provider(filled: Read) -> None:
    provider = pytest.importorskip("genre_ray.cluster.provider", reason="boto3 is not installed")
    for name in ("aws.yaml", "aws-docker.yaml"):
        found = yaml.safe_load(filled(name))["provider"]["module"]
        assert found == spot.MODULE == f"{provider.__name__}.{provider.SpotFirst.__name__}"


def test_the_two_files_for_aws_differ_only_in_what_the_image_replaces(filled: Read) -> None:
    plain, docker = (yaml.safe_load(filled(name)) for name in ("aws.yaml", "aws-docker.yaml"))
    for document in (plain, docker):
        del document["file_mounts"], document["rsync_exclude"]
        for field in list(document):
            if field == "docker" or field.endswith("_commands"):
                del document[field]
        document["available_node_types"]["gpu_spot"].pop("docker", None)
    assert plain == docker


@pytest.mark.parametrize(
    ("name", "right", "wrong", "said"),
    [
        ("aws", "auth:\n", "docker: {container_name: c}\nauth:\n", "docker.image: is missing; write registry/name:tag"),
        (
            "aws",
            "auth:\n",
            "docker: {image: x}\nauth:\n",
            "docker.container_name: is missing; write container_name: ray",
        ),
        ("local", "type: local", "type: external", "provider.module: is missing; name your node provider's class"),
        ("local", "  head_ip: 10.0.0.1\n", "", "provider.head_ip: is no address; give an IP address or a host name"),
        ("aws", "upscaling_speed: 1.0", "upscaling_speed: fast", "upscaling_speed: is not a number (value fast); give"),
        ("aws", "max_workers: 24", "max_workers: yes", "max_workers: is not a whole number (value true); give"),
        ("aws", "resources: {CPU: 0}", "resources: {CPU: -1}", "resources.CPU: is below 0 (value -1); give 0 or more"),
        ("aws", "cluster_name: genre-ray", "cluster_name: 7", "cluster_name: is not text (value 7); give text"),
        ("aws", "['**/__pycache__']", "'**/__pycache__'", "rsync_exclude: is not a list (value **/__pycache__); give"),
        (
            "aws",
            "head_node_type: head",
            "head_node_type: haed",
            "head_node_type: no node type (value haed); did you mean",
        ),
        (
            "aws",
            "min_workers: 0\n    max_workers: 16",
            "min_workers: 30\n    max_workers: 30",
            "max_workers: is smaller",
        ),
    ],
)
def test_what_ray_finds_is_said_with_field_value_and_remedy(
    name: str, right: str, wrong: str, said: str, filled: Read, problems_of: Check
) -> None:
    text = filled(f"{name}.yaml").replace('"', "'")
    assert right in text
    lines = problems_of(text.replace(right, wrong, 1))
    assert any(said in line for line in lines), lines
    assert not any("\x1b" in line or " -- " in line or "in Ray's schema" in line for line in lines)
