"""A cluster file of Ray's launcher (`ray up`): which parts it has, and what Ray lets pass in those that no cloud reads.

Knows nothing about Kubernetes. Starts nothing and asks no cloud.
"""

import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from genre_ray.cluster import aws, gcp, onpremise, provisions, spot, upstream
from genre_ray.cluster.commands import check_start
from genre_ray.cluster.problem import Problem, inside, spelling
from genre_ray.cluster.scan import holds_placeholder

_PROVIDERS = ("aws", "gcp", "local", "external")
_RESOURCES = ("CPU", "GPU", "TPU", "memory", "object_store_memory")
_GOOGLE_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")
_USER = re.compile(r"[a-z_][a-z0-9_.-]{0,31}")
_IMAGE = re.compile(r"([\w.-]+(:\d+)?/)?[a-z0-9._/-]+(:[\w.-]{1,128})?(@sha256:[0-9a-f]{64})?")
_WEEK = 7 * 24 * 60
"""Minutes. An idle machine costs as much as a busy one."""

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,62}")


def check(document: Mapping[str, Any]) -> Iterator[Problem]:
    """Problems of a launcher file, given as its parsed content.

    Mount sources and key files are looked up as `ray up` would: `~` is the home folder, and a relative path counts from
    the folder in which the command is run.
    """
    provider = document.get("provider")
    if not isinstance(provider, Mapping) or provider.get("type") not in _PROVIDERS:
        found = provider.get("type") if isinstance(provider, Mapping) else provider
        yield Problem(
            field="provider.type",
            what="not a provider that can be checked here",
            value=found,
            remedy=spelling(found, _PROVIDERS),
        )
        return
    yield from upstream.check(document)
    yield from _check_cloud(document, provider)
    yield from _check_sizes(document)
    yield from _check_files(document)
    yield from check_start(document)
    yield from provisions.check(document)


def _check_cloud(document: Mapping[str, Any], provider: Mapping[str, Any]) -> Iterator[Problem]:
    kind = spot.cloud(provider)
    yield from spot.check(document)
    if kind == "local":
        yield from onpremise.check_provider(provider)
        yield from onpremise.check_number(document, provider)
    if kind not in ("aws", "gcp"):
        return
    if kind == "aws" and not _has_boto():
        yield Problem(
            field="provider.type",
            what="aws cannot be checked without boto3, which `ray up` needs too",
            remedy="pip install boto3",
        )
        return
    yield from aws.check_provider(provider) if kind == "aws" else gcp.check_provider(provider)
    auth = document.get("auth")
    auth = auth if isinstance(auth, Mapping) else {}
    for name, place, node in _node_types(document):
        config = node.get("node_config")
        if not isinstance(config, Mapping):
            yield Problem(field=f"{place}.node_config", what="is missing", remedy=f"say what machine {name} is")
        elif kind == "aws":
            yield from aws.check_node(config, f"{place}.node_config", kind=name, auth=auth)
        else:
            is_head = name == document.get("head_node_type")
            yield from gcp.check_node(node, place, kind=name, provider=provider, is_head=is_head)


def _has_boto() -> bool:
    try:
        import botocore  # noqa: F401 - only its presence matters here
    except ImportError:
        return False
    return True


def _check_sizes(document: Mapping[str, Any]) -> Iterator[Problem]:
    name = document.get("cluster_name")
    if name is None:
        yield Problem(
            field="cluster_name",
            what="is missing: it would be default, and what the cloud allows a cluster goes by its name",
            remedy="write cluster_name: genre-ray",
        )
    if isinstance(name, str) and document["provider"]["type"] == "gcp" and not _GOOGLE_NAME.fullmatch(name):
        yield Problem(
            field="cluster_name", what="no name for a machine of Google's", value=name, remedy="use a-z, 0-9 and -"
        )
    elif isinstance(name, str) and not _NAME.fullmatch(name):
        yield Problem(field="cluster_name", what="no name for a tag", value=name, remedy="use letters, digits and -")
    if "max_workers" not in document and document["provider"]["type"] != "local":
        yield Problem(field="max_workers", what="is missing: Ray's default is 2", remedy="say how large it may grow")
    total = document.get("max_workers")
    for kind, place, node in _node_types(document):
        least, most = node.get("min_workers", 0), node.get("max_workers")
        for field in ("min_workers", "max_workers"):
            if isinstance(node.get(field), int) and node[field] < 0:
                yield Problem(field=f"{place}.{field}", what="is below 0", value=node[field], remedy="give 0 or more")
        if isinstance(least, int) and isinstance(most, int) and least > most:
            yield Problem(
                field=f"{place}.min_workers", what=f"exceeds max_workers {most}", value=least, remedy="lower it"
            )
        if isinstance(most, int) and isinstance(total, int) and most > total:
            yield Problem(
                field=f"{place}.max_workers",
                what=f"exceeds max_workers of the whole cluster, {total}",
                value=most,
                remedy="raise that, or lower this",
            )
        yield from _check_resources(node.get("resources"), f"{place}.resources")
        if kind != document.get("head_node_type") and most is None:
            yield Problem(
                field=f"{place}.max_workers",
                what=f"is missing: {kind} could grow to max_workers of the whole cluster",
                remedy="say how many there may be",
            )
    for field in ("idle_timeout_minutes", "upscaling_speed"):
        value = document.get(field, 1)
        if isinstance(value, int | float) and not value > 0:
            yield Problem(field=field, what="is not above 0", value=value, remedy="give a positive number")
        elif field == "idle_timeout_minutes" and isinstance(value, int | float) and value > _WEEK:
            yield Problem(field=field, what="is longer than a week", value=value, remedy="give minutes, such as 5")


def _check_resources(resources: object, place: str) -> Iterator[Problem]:
    """Ray takes any name as a resource of one's own: `Cpu: 4` makes machines on which nothing runs."""
    for name, value in resources.items() if isinstance(resources, Mapping) else ():
        near = difflib.get_close_matches(str(name).lower(), [known.lower() for known in _RESOURCES], n=1, cutoff=0.75)
        if name not in _RESOURCES and near:
            yield Problem(
                field=inside(place, name), what="unknown resource", value=value, remedy=spelling(near[0], _RESOURCES)
            )


def _node_types(document: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    kinds = document.get("available_node_types")
    for name, node in kinds.items() if isinstance(kinds, Mapping) else ():
        if isinstance(node, Mapping):
            yield name, f"available_node_types.{name}", node


def _check_files(document: Mapping[str, Any]) -> Iterator[Problem]:
    for field in ("head_start_ray_commands", "worker_start_ray_commands"):
        if document.get(field) is None and spot.cloud(document["provider"]) != "external":
            yield Problem(
                field=field,
                what="is missing: Ray's own opens the dashboard to every address, and asks for no token",
                remedy="write it, see cluster/aws.yaml",
            )
    for field in ("rsync_exclude", "rsync_filter"):
        patterns = document.get(field)
        for index, pattern in enumerate(patterns if isinstance(patterns, list) else ()):
            if not isinstance(pattern, str):
                yield Problem(
                    field=f"{field}.{index}", what="is not text", value=pattern, remedy="write a pattern in quotes"
                )
    yield from _check_docker(document.get("docker"))
    auth = document.get("auth")
    user = auth.get("ssh_user") if isinstance(auth, Mapping) else None
    if isinstance(user, str) and not holds_placeholder(user) and not _USER.fullmatch(user):
        yield Problem(field="auth.ssh_user", what="is no user name", value=user, remedy="write one word")
    elif user == "root" and document["provider"]["type"] == "gcp":
        yield Problem(
            field="auth.ssh_user",
            what="cannot be root, whom Google's images keep out",
            value=user,
            remedy="write ubuntu",
        )
    for field in ("ssh_private_key", "ssh_public_key"):
        key = auth.get(field) if isinstance(auth, Mapping) else None
        if isinstance(key, str) and not Path(key).expanduser().is_file():
            yield Problem(
                field=f"auth.{field}", what="is not there", value=key, remedy="give the path of your key file"
            )


def _check_docker(docker: object) -> Iterator[Problem]:
    for field, value in docker.items() if isinstance(docker, Mapping) else ():
        here = inside("docker", field)
        if field in ("image", "head_image", "worker_image") and isinstance(value, str):
            if value and not holds_placeholder(value) and not _IMAGE.fullmatch(value):
                yield Problem(field=here, what="is no image", value=value, remedy="write registry/name:tag")
        elif field == "container_name" and isinstance(value, str) and not _NAME.fullmatch(value):
            yield Problem(field=here, what="is no name", value=value, remedy="use letters, digits, _, . and -")
