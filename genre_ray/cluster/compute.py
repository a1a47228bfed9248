"""Compute Engine: regions, machine types with what they have, disks, images and scopes that exist. Asks no cloud."""

import re

_ABC = """
    africa-south1 asia-east1 asia-east2 asia-northeast1 asia-northeast2 asia-northeast3 asia-south1 asia-south2
    asia-southeast1 asia-southeast2 asia-southeast3 australia-southeast1 australia-southeast2 europe-central2
    europe-north1 europe-north2 europe-southwest1 europe-west2 europe-west3 europe-west4 europe-west6 europe-west8
    europe-west9 europe-west10 europe-west12 me-central1 me-central2 me-west1 northamerica-northeast1
    northamerica-northeast2 northamerica-south1 southamerica-east1 southamerica-west1 us-east4 us-east5 us-south1
    us-west1 us-west2 us-west3 us-west4
"""

ZONES = dict.fromkeys(_ABC.split(), "abc") | {"us-central1": "abcf", "us-east1": "bcd", "europe-west1": "bcd"}
"""The letters of the zones of each region (https://cloud.google.com/compute/docs/regions-zones)."""

DISK_TYPES = (
    *("pd-standard", "pd-balanced", "pd-ssd", "pd-extreme", "local-ssd"),
    *("hyperdisk-balanced", "hyperdisk-extreme", "hyperdisk-throughput", "hyperdisk-ml"),
    "hyperdisk-balanced-high-availability",
)

SCOPES = (
    *(
        "cloud-platform",
        "cloud-platform.read-only",
        "compute",
        "compute.readonly",
        "bigquery",
        "pubsub",
        "sqlservice.admin",
    ),
    *("devstorage.read_only", "devstorage.read_write", "devstorage.full_control", "logging.write", "logging.read"),
    *(
        "monitoring",
        "monitoring.write",
        "trace.append",
        "servicecontrol",
        "service.management.readonly",
        "userinfo.email",
    ),
)
WRITING = ("cloud-platform", "devstorage.read_write", "devstorage.full_control")
"""The scopes with which a bucket can be written."""

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
    "n4": {2, 4, 8, 16, 32, 48, 64, 80},
    "c2": {4, 8, 16, 30, 60},
    "c2d": {2, 4, 8, 16, 32, 56, 112},
    "c3": {4, 8, 22, 44, 88, 176, 192},
    "c3d": {4, 8, 16, 30, 60, 90, 180, 360},
    "c4": {2, 4, 8, 16, 24, 32, 48, 96, 144, 192, 288},
    "c4a": {1, 2, 4, 8, 16, 32, 48, 64, 72},
    "c4d": {2, 4, 8, 16, 32, 48, 64, 96, 192, 384},
    "t2a": {1, 2, 4, 8, 16, 32, 48},
    "t2d": {1, 2, 4, 8, 16, 32, 48, 60},
    "g2": {4, 8, 12, 16, 24, 32, 48, 96},
    "g4": {48, 96, 192, 384},
}
"""vCPUs of the predefined types of the families that are most used."""

_SUFFIXED = {"-lssd": {"c3", "c3d", "c4", "c4a", "c4d", "z3", "h4d"}, "-metal": {"c3", "c4", "c4a", "c4d", "x4", "z3"}}
_GPUS = {"g2": {24: 2, 48: 4, 96: 8}, "g4": {96: 2, 192: 4, 384: 8}}
"""GPUs by vCPUs where there is more than one."""

WITH_GPU = ("a2-", "a3-", "a4-", "a4x-", "g2-", "g4-")


def is_machine(name: str) -> bool:
    """Whether there can be a machine type of this name."""
    if not _MACHINE.fullmatch(name):
        return False
    found = re.fullmatch(r"(\w+)-(standard|highmem|highcpu)-(\d+)(-lssd|-metal)?", name)
    if found is None:
        return True
    family, _, size, suffix = found.groups()
    fits = int(size) in _SIZES.get(family, {int(size)})
    return fits and (suffix is None or family in _SUFFIXED[suffix])


def cpus_of(machine: str) -> int | None:
    """Virtual CPUs of a machine type, where its name tells."""
    found = re.fullmatch(r"\w+-(?:standard|highmem|highcpu|ultramem|megamem)-(\d+)(?:-lssd|-metal)?", machine)
    found = found or re.fullmatch(r"(?:\w+-)?custom-(\d+)-\d+(?:-ext)?", machine)
    return int(found[1]) if found else None


def gpus_of(machine: str) -> int | None:
    """GPUs of a machine type, where its name tells; those of `guestAccelerators` come on top."""
    if found := re.fullmatch(r"a\w+-\w+gpu-(\d+)g", machine):
        return int(found[1])
    family = machine.split("-")[0]
    if family not in _GPUS:
        return None if machine.startswith(WITH_GPU) else 0
    cpus = cpus_of(machine)
    return None if cpus is None else _GPUS[family].get(cpus, 1)
