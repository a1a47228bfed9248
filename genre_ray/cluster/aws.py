"""What a launcher file says to AWS: the provider section and each node_config. Knows nothing about files or commands.

Ray passes a node_config to EC2's RunInstances unread, so it is checked against botocore's description of that call.
"""

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from genre_ray.cluster import ec2
from genre_ray.cluster.problem import Problem, inside, spelling
from genre_ray.cluster.scan import holds_placeholder

PROVIDER_KEYS = frozenset(
    {
        "type",
        "module",
        "on_demand",
        "region",
        "availability_zone",
        "cache_stopped_nodes",
        "use_internal_ips",
        "security_group",
        "key_pair",
        "cloudwatch",
        "aws_credentials",
        "disable_node_updaters",
        "disable_launch_config_check",
        "foreground_node_launch",
        "worker_liveness_check",
    }
)
"""What Ray 2.60 reads from `provider` for AWS (ray/autoscaler/_private/aws and constants), and `provider.py` here."""

_SET_BY_RAY = {"MinCount", "MaxCount", "DryRun", "ClientToken"}
_IMAGE = re.compile(r"ami-[0-9a-f]{8,17}|resolve:ssm:[\w./-]+(:\d+)?")
_GROUP = re.compile(r"sg-[0-9a-f]{8,17}")
_SUBNET = re.compile(r"subnet-[0-9a-f]{8,17}")
_MORE_ZONES = {"us-east-1": "[ef]"}
_WORLD = ("0.0.0.0/0", "::/0")


def check_provider(provider: Mapping[str, Any]) -> Iterator[Problem]:
    """Unknown keys, a region or zone that does not exist, credentials in the file, doors open to the world."""
    for key, value in provider.items():
        if key not in PROVIDER_KEYS:
            yield Problem(field=f"provider.{key}", what="unknown key", value=value, remedy=spelling(key, PROVIDER_KEYS))
    if "aws_credentials" in provider:
        yield Problem(
            field="provider.aws_credentials",
            what="holds credentials",
            remedy="leave it out: the launcher takes your own, the nodes their instance profile",
        )
    yield from _check_region(provider)
    rules = (provider.get("security_group") or {}).get("IpPermissions") or []
    for index, rule in enumerate(rules):
        yield from _check_rule(rule, f"provider.security_group.IpPermissions.{index}")


def check_node(config: Mapping[str, Any], place: str, *, kind: str, auth: Mapping[str, Any]) -> Iterator[Problem]:
    """Problems of one node_config; `kind`: the name of its node type, `auth`: the file's user and key."""
    found = list(_check_fields(config, place))
    yield from found
    yield from _check_image(config, place)
    yield from _check_access(config, place)
    if not found:
        yield from ec2.check_values(config, place, kind=kind)
    user, wanted = auth.get("ssh_user"), ec2.user_of(str(config.get("ImageId", "")))
    if wanted and isinstance(user, str) and user != wanted:
        yield Problem(
            field="auth.ssh_user", what=f"is not the user of this image, {wanted}", value=user, remedy=f"write {wanted}"
        )
    if "InstanceType" not in config and "LaunchTemplate" not in config:
        yield Problem(field=inside(place, "InstanceType"), what="is missing", remedy="give one, such as c7i.4xlarge")
    if "ssh_private_key" in auth and "KeyName" not in config and "UserData" not in config:
        yield Problem(
            field=inside(place, "KeyName"),
            what="is missing, although auth.ssh_private_key is given",
            remedy="give the name of that key pair on AWS, or leave ssh_private_key out and Ray makes one",
        )


def _check_fields(config: Mapping[str, Any], place: str) -> Iterator[Problem]:
    shape = _run_instances()
    known = set(shape.members) | {"SubnetIds"}
    for key, value in config.items():
        here = inside(place, key)
        if key in _SET_BY_RAY:
            yield Problem(field=here, what="is set by Ray itself", value=value, remedy="leave it out")
        elif key == "SubnetIds":
            yield from _check_ids(value, here, _SUBNET, "subnet-0123456789abcdef0")
        elif key not in known:
            yield Problem(field=here, what="unknown field", value=value, remedy=spelling(key, known - _SET_BY_RAY))
        elif key in shape.members:
            yield from _check_shape(shape.members[key], value, here)


def _check_region(provider: Mapping[str, Any]) -> Iterator[Problem]:
    region = provider.get("region")
    known = _regions()
    if not isinstance(region, str) or region not in known:
        yield Problem(field="provider.region", what="no AWS region", value=region, remedy=spelling(region, known))
        return
    zones = provider.get("availability_zone")
    if zones is not None and not isinstance(zones, str):
        yield Problem(
            field="provider.availability_zone", what="is not text", value=zones, remedy=f"write {region}a,{region}b"
        )
        return
    for zone in (zones or "").split(",") if zones else []:
        if not re.fullmatch(rf"{region}(-[a-z]+-\d+[ab]|[a-d]|{_MORE_ZONES.get(region, '')})", zone.strip()):
            yield Problem(
                field="provider.availability_zone",
                what=f"is no zone of {region}",
                value=zone,
                remedy=f"write zones such as {region}a, with commas between them",
            )


def _check_rule(rule: object, place: str) -> Iterator[Problem]:
    yield from _check_shape(_permission(), rule, place)
    ranges = rule.get("IpRanges", []) + rule.get("Ipv6Ranges", []) if isinstance(rule, Mapping) else []
    for entry in ranges:
        cidr = entry.get("CidrIp") or entry.get("CidrIpv6")
        if cidr in _WORLD:
            yield Problem(
                field=place, what="opens a port to the world", value=cidr, remedy="name your own address range"
            )


def _check_image(config: Mapping[str, Any], place: str) -> Iterator[Problem]:
    here, image = inside(place, "ImageId"), config.get("ImageId")
    if image is None and "LaunchTemplate" not in config:
        yield Problem(
            field=here,
            what="is missing: Ray 2.60 would take Ubuntu 18.04 with CUDA 11.2",
            remedy="give an ami-... or resolve:ssm:/aws/service/..., see cluster/aws.yaml",
        )
    elif isinstance(image, str) and not holds_placeholder(image) and not _IMAGE.fullmatch(image):
        yield Problem(
            field=here, what="is no image", value=image, remedy="give an ami-... or resolve:ssm:/aws/service/..."
        )


def _check_access(config: Mapping[str, Any], place: str) -> Iterator[Problem]:
    interfaces = config.get("NetworkInterfaces") or []
    if "SecurityGroupIds" in config:
        yield from _check_ids(
            config["SecurityGroupIds"], inside(place, "SecurityGroupIds"), _GROUP, "sg-0123456789abcdef0"
        )
    elif not interfaces or not all(isinstance(entry, Mapping) and entry.get("Groups") for entry in interfaces):
        yield Problem(
            field=inside(place, "SecurityGroupIds"),
            what="is missing: the group that Ray makes by itself lets SSH in from 0.0.0.0/0",
            remedy="name a group of your own, see cluster/aws-foundation.json",
        )
    if "IamInstanceProfile" not in config:
        yield Problem(
            field=inside(place, "IamInstanceProfile"),
            what="is missing: a head without one is given full access to EC2 and S3, a worker no access to the bucket",
            remedy="name a profile, see cluster/aws-foundation.json",
        )


def _check_ids(value: object, place: str, form: re.Pattern[str], example: str) -> Iterator[Problem]:
    if not isinstance(value, list) or not value:
        yield Problem(field=place, what="is not a list of ids", value=value, remedy=f"write [{example}]")
        return
    for index, entry in enumerate(value):
        if not holds_placeholder(entry) and not (isinstance(entry, str) and form.fullmatch(entry)):
            yield Problem(field=inside(place, index), what="is no id", value=entry, remedy=f"write one like {example}")


def _check_shape(shape: Any, value: object, place: str) -> Iterator[Problem]:
    """Walks a botocore shape (structure, list, map, string with an enumeration, integer, boolean) along the value."""
    if shape.type_name == "structure":
        if not isinstance(value, Mapping):
            yield Problem(
                field=place, what="is not a mapping", value=value, remedy=f"known: {', '.join(shape.members)}"
            )
            return
        for key, part in value.items():
            if key in shape.members:
                yield from _check_shape(shape.members[key], part, inside(place, key))
            else:
                yield Problem(
                    field=inside(place, key), what="unknown field", value=part, remedy=spelling(key, shape.members)
                )
    elif shape.type_name == "list":
        if not isinstance(value, list):
            yield Problem(field=place, what="is not a list", value=value, remedy="put a dash or brackets around it")
            return
        for index, part in enumerate(value):
            yield from _check_shape(shape.member, part, inside(place, index))
    else:
        yield from _check_scalar(shape, value, place)


def _check_scalar(shape: Any, value: object, place: str) -> Iterator[Problem]:
    enum = getattr(shape, "enum", None)
    if shape.type_name in ("integer", "long"):
        if isinstance(value, bool) or not isinstance(value, int):
            yield Problem(field=place, what="is not a whole number", value=value, remedy="write it without quotes")
    elif shape.type_name == "boolean":
        if not isinstance(value, bool):
            yield Problem(field=place, what="is not true or false", value=value, remedy="write true or false")
    elif shape.type_name == "string":
        if not isinstance(value, str):
            yield Problem(field=place, what="is not text", value=value, remedy="put it in quotes")
        elif enum and value not in enum and not holds_placeholder(value):
            what = "unknown instance type" if place.endswith("InstanceType") else "not one of the allowed words"
            yield Problem(field=place, what=what, value=value, remedy=spelling(value, enum))


@lru_cache
def _ec2() -> Any:
    # botocore comes with boto3, which only those who use AWS need.
    import botocore.session

    return botocore.session.get_session().get_service_model("ec2")


@lru_cache
def _run_instances() -> Any:
    return _ec2().operation_model("RunInstances").input_shape


@lru_cache
def _permission() -> Any:
    return _ec2().shape_for("IpPermission")


@lru_cache
def _regions() -> frozenset[str]:
    import botocore.session

    session = botocore.session.get_session()
    return frozenset(
        region
        for partition in session.get_available_partitions()
        for region in session.get_available_regions("ec2", partition_name=partition)
    )
