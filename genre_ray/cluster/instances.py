"""What the values of a Compute Engine node_config must be, by themselves and together. Takes the fields as checked."""

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from genre_ray.cluster.compute import DISK_TYPES, SCOPES, WRITING, cpus_of, gpus_of
from genre_ray.cluster.problem import Problem, inside, spelling
from genre_ray.cluster.scan import holds_placeholder

_URL = r"(?:https://(?:www|compute)\.googleapis\.com/compute/(?:v1|beta)/)?(?:projects/[\w.:-]+/)?"
_DISK = re.compile(rf"{_URL}(?:zones/([a-z0-9-]+)|regions/[a-z0-9-]+)/diskTypes/([a-z0-9-]+)")
_IMAGE = re.compile(rf"{_URL}global/(?:images|licenses)/(?:family/)?[a-z]([a-z0-9-]*[a-z0-9])?")
_SUBNET = re.compile(rf"{_URL}regions/([a-z0-9-]+)/subnetworks/[a-z]([a-z0-9-]*[a-z0-9])?")
_ACCOUNT = re.compile(
    r"default|\d+-compute@developer\.gserviceaccount\.com|[a-z][a-z0-9-]{4,28}[a-z0-9]@(?P<project>[a-z0-9.:-]+)"
    r"\.iam\.gserviceaccount\.com"
)
_SCOPE = "https://www.googleapis.com/auth/"
_LEAST_GB, _LARGEST_GB = 10, 65536


def check_values(config: Mapping[str, Any], place: str, *, kind: str, provider: Mapping[str, Any]) -> Iterator[Problem]:
    """Problems of a node_config whose fields and types fit; `kind`: the name of its node type."""
    region, zone = str(provider.get("region")), str(provider.get("availability_zone"))
    yield from _check_disks(config.get("disks") or [], inside(place, "disks"), zone)
    for index, network in enumerate(config.get("networkInterfaces") or []):
        if "subnetwork" in network:
            here = inside(place, f"networkInterfaces.{index}.subnetwork")
            yield from _check_subnet(network["subnetwork"], here, region)
    for index, account in enumerate(config.get("serviceAccounts") or []):
        yield from _check_account(account, inside(place, f"serviceAccounts.{index}"), provider.get("project_id"))
    yield from _check_scheduling(config.get("scheduling") or {}, inside(place, "scheduling"), kind)


def check_resources(
    machine: object, config: Mapping[str, Any], resources: object, place: str, *, is_head: bool
) -> Iterator[Problem]:
    """The launcher asks Google for nothing: what `resources` says is what the autoscaler believes the machine has."""
    if not isinstance(machine, str):
        return
    name = machine.rsplit("/", 1)[-1]
    said = resources if isinstance(resources, Mapping) else {}
    gpus = gpus_of(name)
    accelerators = sum(entry.get("acceleratorCount", 0) for entry in config.get("guestAccelerators") or [])
    has = {"CPU": cpus_of(name), "GPU": None if gpus is None else gpus + accelerators}
    for resource, amount in has.items():
        given = said.get(resource, 0)
        if amount is not None and given != amount and not (is_head and given == 0):
            yield Problem(
                field=inside(place, resource),
                what=f"is not that of {name}, {amount}",
                value=said.get(resource),
                remedy=f"write {resource}: {amount}",
            )


def _check_disks(disks: list[Any], place: str, zone: str) -> Iterator[Problem]:
    if [disk.get("boot", False) for disk in disks].count(True) != 1:
        yield Problem(field=place, what="not one of them is the boot disk", remedy="write boot: true at exactly one")
    for index, disk in enumerate(disks):
        here = inside(place, index)
        if disk.get("autoDelete") is False:
            yield Problem(
                field=inside(here, "autoDelete"),
                what="keeps the disk of each machine that ends, which goes on costing",
                value=False,
                remedy="write autoDelete: true",
            )
        params = disk.get("initializeParams") or {}
        for owner, inner in ((disk, here), (params, inside(here, "initializeParams"))):
            size = owner.get("diskSizeGb")
            if size is not None and not _LEAST_GB <= int(size) <= _LARGEST_GB:
                yield Problem(
                    field=inside(inner, "diskSizeGb"),
                    what=f"not in {_LEAST_GB}..{_LARGEST_GB}",
                    value=size,
                    remedy="give a size in GB, such as 100",
                )
        yield from _check_params(params, inside(here, "initializeParams"), zone)


def _check_params(params: Mapping[str, Any], place: str, zone: str) -> Iterator[Problem]:
    kind, image = params.get("diskType"), params.get("sourceImage")
    if kind is not None:
        found, here = _DISK.fullmatch(kind), inside(place, "diskType")
        if found is None or found[2] not in DISK_TYPES:
            near = spelling(found[2], DISK_TYPES) if found else f"write zones/{zone}/diskTypes/pd-balanced"
            yield Problem(field=here, what="is no disk type", value=kind, remedy=near)
        elif found[1] is not None and found[1] != zone:
            yield Problem(field=here, what=f"is not in {zone}", value=kind, remedy=f"write zones/{zone}/...")
    if image is not None and not holds_placeholder(image):
        processor = re.search(r"(?<![a-z])(amd|arm|x86-)\d+", image)
        strange = processor is not None and processor[0] not in ("amd64", "arm64", "x86-64")
        if strange or not _IMAGE.fullmatch(image):
            yield Problem(
                field=inside(place, "sourceImage"),
                what="is no image",
                value=image,
                remedy="write projects/PROJECT/global/images/family/NAME",
            )


def _check_subnet(subnet: str, place: str, region: str) -> Iterator[Problem]:
    found = _SUBNET.fullmatch(re.sub(r"FILL_IN_\w+", "filled", subnet))
    if found is None:
        remedy = f"write projects/PROJECT/regions/{region}/subnetworks/NAME"
        yield Problem(field=place, what="is no subnet", value=subnet, remedy=remedy)
    elif found[1] != region:
        yield Problem(field=place, what=f"is not in {region}", value=subnet, remedy=f"take a subnet of {region}")


def _check_account(account: Mapping[str, Any], place: str, project: object) -> Iterator[Problem]:
    email, scopes = account["email"], account["scopes"]
    found = _ACCOUNT.fullmatch(email)
    if not holds_placeholder(email) and found is None:
        yield Problem(
            field=inside(place, "email"),
            what="is no service account",
            value=email,
            remedy=f"write NAME@{project}.iam.gserviceaccount.com",
        )
    elif found is not None and found["project"] not in (None, project) and not holds_placeholder(project):
        yield Problem(
            field=inside(place, "email"),
            what="is of another project than provider.project_id",
            value=email,
            remedy=f"write ...@{project}.iam.gserviceaccount.com",
        )
    names = [scope.removeprefix(_SCOPE) for scope in scopes]
    for index, (scope, name) in enumerate(zip(scopes, names, strict=True)):
        near = difflib.get_close_matches(name, SCOPES, n=1, cutoff=0.8)
        if not scope.startswith(_SCOPE) or (name not in SCOPES and near):
            yield Problem(
                field=inside(place, f"scopes.{index}"),
                what="is no scope",
                value=scope,
                remedy=spelling(name, SCOPES) if near else f"write {_SCOPE}devstorage.read_write",
            )
    if not set(names) & set(WRITING):
        yield Problem(
            field=inside(place, "scopes"),
            what="cannot write to the bucket with them",
            value=scopes,
            remedy=f"add {_SCOPE}devstorage.read_write",
        )


def _check_scheduling(scheduling: Mapping[str, Any], place: str, kind: str) -> Iterator[Problem]:
    spot = scheduling.get("provisioningModel") == "SPOT" or scheduling.get("preemptible") is True
    if "spot" in kind and not spot:
        yield Problem(
            field=inside(place, "provisioningModel"),
            what=f"is not SPOT, although {kind} is called spot: it would cost three times as much",
            value=scheduling.get("provisioningModel"),
            remedy="write provisioningModel: SPOT, or rename it",
        )
    if spot and "on_demand" in kind:
        yield Problem(
            field=inside(place, "provisioningModel"), what="is SPOT here", value="SPOT", remedy="write STANDARD"
        )
    for field, value in (("automaticRestart", True), ("onHostMaintenance", "MIGRATE")):
        if spot and scheduling.get(field) == value:
            yield Problem(
                field=inside(place, field),
                what=f"cannot be {str(value).replace('True', 'true')} for a SPOT machine",
                value=value,
                remedy="write false" if value is True else "write TERMINATE",
            )
    if not spot and "instanceTerminationAction" in scheduling and "maxRunDuration" not in scheduling:
        yield Problem(
            field=inside(place, "instanceTerminationAction"),
            what="is for SPOT machines",
            value=scheduling["instanceTerminationAction"],
            remedy="leave it out",
        )
