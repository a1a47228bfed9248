"""What a launcher file says to Google Cloud: the provider section and each node_config. Knows no commands."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from genre_ray.cluster import instances
from genre_ray.cluster.compute import WITH_GPU, ZONES, is_machine
from genre_ray.cluster.problem import Problem, inside, spelling
from genre_ray.cluster.scan import holds_placeholder
from genre_ray.cluster.shape import shapes

PROVIDER_KEYS = frozenset(
    {
        "type",
        "region",
        "availability_zone",
        "project_id",
        "cache_stopped_nodes",
        "use_internal_ips",
        "gcp_credentials",
        "disable_node_updaters",
        "disable_launch_config_check",
        "foreground_node_launch",
        "worker_liveness_check",
    }
)
"""What Ray 2.60 reads from `provider` for GCP (ray/autoscaler/_private/gcp and constants)."""

_PROJECT = re.compile(r"([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]")


def check_provider(provider: Mapping[str, Any]) -> Iterator[Problem]:
    """Unknown keys, a project, region or zone that cannot be, credentials in the file."""
    for key, value in provider.items():
        if key not in PROVIDER_KEYS:
            yield Problem(field=f"provider.{key}", what="unknown key", value=value, remedy=spelling(key, PROVIDER_KEYS))
    if "gcp_credentials" in provider:
        yield Problem(
            field="provider.gcp_credentials",
            what="holds credentials",
            remedy="leave it out: `gcloud auth application-default login` gives the launcher yours",
        )
    project = provider.get("project_id")
    if not holds_placeholder(project) and not (isinstance(project, str) and _PROJECT.fullmatch(project)):
        yield Problem(field="provider.project_id", what="is no project id", value=project, remedy="give your project's")
    region, zone = provider.get("region"), provider.get("availability_zone")
    if not isinstance(region, str) or region not in ZONES:
        yield Problem(field="provider.region", what="is no region", value=region, remedy=spelling(region, ZONES))
    elif not (isinstance(zone, str) and re.fullmatch(rf"{region}-([{ZONES[region]}]|ai\d[a-z])", zone)):
        yield Problem(
            field="provider.availability_zone",
            what=f"is no zone of {region}",
            value=zone,
            remedy=f"write one zone, such as {region}-{ZONES[region][0]}",
        )


def check_node(
    node: Mapping[str, Any], place: str, *, kind: str, provider: Mapping[str, Any], is_head: bool
) -> Iterator[Problem]:
    """Problems of one node type, whose name is `kind`, and of its node_config."""
    config, resources = node["node_config"], inside(place, "resources")
    place = inside(place, "node_config")
    found = shapes("gcp").check("Instance", config, place)
    yield from found
    if not found:
        yield from instances.check_values(config, place, kind=kind, provider=provider)
    machine = config.get("machineType")
    if not found:
        yield from instances.check_resources(machine, config, node.get("resources"), resources, is_head=is_head)
    if isinstance(machine, str) and not is_machine(machine.rsplit("/", 1)[-1]):
        yield Problem(
            field=inside(place, "machineType"),
            what="unknown machine type",
            value=machine,
            remedy="write one like n2-standard-4 or g2-standard-4",
        )
    scheduling = config.get("scheduling")
    has_gpu = bool(config.get("guestAccelerators")) or str(machine).startswith(WITH_GPU)
    if has_gpu and not (isinstance(scheduling, Mapping) and scheduling.get("onHostMaintenance") == "TERMINATE"):
        yield Problem(
            field=inside(place, "scheduling.onHostMaintenance"),
            what="is not TERMINATE, and a machine with a GPU cannot be moved while it runs",
            remedy="write onHostMaintenance: TERMINATE",
        )
    if not config.get("networkInterfaces"):
        yield Problem(
            field=inside(place, "networkInterfaces"),
            what="is missing: Ray takes the first subnet, and the default network lets SSH in from the whole world",
            remedy="name a subnet whose firewall you know, see cluster/gcp.yaml",
        )
    if not config.get("serviceAccounts"):
        yield Problem(
            field=inside(place, "serviceAccounts"),
            what="is missing: a worker could not reach the bucket, and a head would get compute.admin",
            remedy="name a service account of least privilege, see cluster/README.md",
        )
