"""What a launcher file says to Google Cloud: the provider section and each node_config. Knows no commands."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

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

_REGION = re.compile(r"[a-z]+-[a-z]+\d{1,2}")
_PROJECT = re.compile(r"([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]")
_MACHINE = re.compile(
    r"(e2|n1|n2|n2d|n4|n4d|c2|c2d|c3|c3d|c4|c4a|c4d|t2a|t2d|h3|h4d|z3|m1|m2|m3|m4|x4|a2|a3|a4|a4x|g2|g4)"
    r"-(standard|highmem|highcpu|highgpu|megagpu|ultragpu|maxgpu|ultramem|megamem|hypermem|micro|small|medium|edgegpu)"
    r"(-\d+)*(g|-lssd|-metal)?"
    r"|((e2|n1|n2|n2d|n4|g2)-)?custom(-\d+)+(-ext)?|f1-micro|g1-small"
)
"""The families of Compute Engine's machine types; which sizes exist in a zone only the service knows."""

_SIZES = {
    "e2": {2, 4, 8, 16, 32},
    "n1": {1, 2, 4, 8, 16, 32, 64, 96},
    "n2": {2, 4, 8, 16, 32, 48, 64, 80, 96, 128},
    "n2d": {2, 4, 8, 16, 32, 48, 64, 80, 96, 128, 224},
    "c2": {4, 8, 16, 30, 60},
    "c2d": {2, 4, 8, 16, 32, 56, 112},
    "c3": {4, 8, 22, 44, 88, 176, 192},
    "t2d": {1, 2, 4, 8, 16, 32, 48, 60},
    "g2": {4, 8, 12, 16, 24, 32, 48, 96},
}
"""vCPUs of the predefined types of the families that are most used."""

_WITH_GPU = ("a2-", "a3-", "a4-", "a4x-", "g2-", "g4-")


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
    if not (isinstance(region, str) and _REGION.fullmatch(region)):
        yield Problem(field="provider.region", what="is no region", value=region, remedy="write one like us-central1")
    elif not (isinstance(zone, str) and re.fullmatch(rf"{region}-[a-z]", zone)):
        yield Problem(
            field="provider.availability_zone",
            what=f"is no zone of {region}",
            value=zone,
            remedy=f"write one zone, such as {region}-a",
        )


def check_node(config: Mapping[str, Any], place: str) -> Iterator[Problem]:
    """Problems of one node_config of Compute Engine."""
    yield from shapes("gcp").check("Instance", config, place)
    machine = config.get("machineType")
    if isinstance(machine, str) and not _is_machine(machine.rsplit("/", 1)[-1]):
        yield Problem(
            field=inside(place, "machineType"),
            what="unknown machine type",
            value=machine,
            remedy="write one like n2-standard-4 or g2-standard-4",
        )
    scheduling = config.get("scheduling")
    has_gpu = bool(config.get("guestAccelerators")) or str(machine).startswith(_WITH_GPU)
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


def _is_machine(name: str) -> bool:
    if not _MACHINE.fullmatch(name):
        return False
    predefined = re.fullmatch(r"(\w+)-(standard|highmem|highcpu)-(\d+)(-lssd)?", name)
    return predefined is None or int(predefined[3]) in _SIZES.get(predefined[1], {int(predefined[3])})
