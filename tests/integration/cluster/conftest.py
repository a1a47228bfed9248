"""A model of an AWS account (moto), the one-time set-up in it, and the shipped files filled in from its outputs."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

CLUSTER = Path(__file__).parents[3] / "cluster"
REGION = "us-west-2"


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """An account with a default VPC and nothing else; no call leaves the process. Gives boto3."""
    boto3 = pytest.importorskip("boto3", reason="boto3 is not installed")
    moto = pytest.importorskip("moto", reason="moto is not installed")
    from ray.autoscaler._private import providers
    from ray.autoscaler._private.aws import config, utils

    with pytest.MonkeyPatch.context() as patch, moto.mock_aws():
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN"):
            patch.setenv(name, "testing")
        patch.delenv("AWS_PROFILE", raising=False)
        patch.setenv("AWS_DEFAULT_REGION", REGION)
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))  # Ray keeps the key pair that it makes in ~/.ssh
        resolve_images(boto3, patch)
        # Ray keeps clients and subnets over calls; those of another account must not be met here, nor these elsewhere.
        caches = (utils.resource_cache, utils.client_cache, config._get_subnets_or_die)
        for cache in caches:
            cache.cache_clear()
        providers._clear_provider_cache()
        yield boto3
        for cache in caches:
            cache.cache_clear()
        providers._clear_provider_cache()


def resolve_images(boto3: Any, patch: pytest.MonkeyPatch) -> None:
    """Lets RunInstances take `resolve:ssm:` as EC2 does; moto does not, and knows none of these names."""
    from botocore.client import BaseClient

    call = BaseClient._make_api_call
    image = boto3.client("ec2", REGION).describe_images()["Images"][0]["ImageId"]

    def resolving(client: Any, operation: str, given: dict[str, Any]) -> Any:
        if operation == "RunInstances" and given["ImageId"].startswith("resolve:ssm:/aws/service/"):
            given = given | {"ImageId": image}
        return call(client, operation, given)

    patch.setattr(BaseClient, "_make_api_call", resolving)


@pytest.fixture(scope="module")
def foundation(aws: Any) -> dict[str, str]:
    """The outputs of cluster/aws-foundation.json, deployed."""
    vpc = next(iter(aws.resource("ec2", REGION).vpcs.filter(Filters=[{"Name": "is-default", "Values": ["true"]}])))
    parameters = {
        "VpcId": vpc.id, "SshCidr": "203.0.113.7/32", "BucketName": "music-of-a-test", "ImageRepository": "genre-ray",
    }  # fmt: skip
    client = aws.client("cloudformation", REGION)
    client.create_stack(
        StackName="genre-ray",
        TemplateBody=(CLUSTER / "aws-foundation.json").read_text(encoding="utf-8"),
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
        Capabilities=["CAPABILITY_NAMED_IAM"],
    )
    (stack,) = client.describe_stacks(StackName="genre-ray")["Stacks"]
    assert stack["StackStatus"] == "CREATE_COMPLETE"
    return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}


@pytest.fixture(scope="module")
def filled(foundation: dict[str, str]) -> Callable[[str], dict[str, Any]]:
    """The content of a shipped file, filled in."""
    places = {
        "sg-FILL_IN": foundation["SecurityGroupId"],
        "FILL_IN_BUCKET": foundation["Bucket"],
        "FILL_IN_ACCOUNT": "123456789012",
    }

    def read(name: str) -> dict[str, Any]:
        text = (CLUSTER / name).read_text(encoding="utf-8")
        for place, value in places.items():
            text = text.replace(place, value)
        content: dict[str, Any] = yaml.safe_load(text)
        return content

    return read
