"""Labels, annotations and other names that someone else's program looks for: their form and their spelling.

Kubernetes takes any; a misspelt one selects nothing, in silence. Takes the fields as checked.
"""

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from genre_ray.cluster.problem import Problem, inside

_KNOWN = (
    *("kubernetes.io/hostname", "kubernetes.io/os", "kubernetes.io/arch", "kubernetes.io/metadata.name"),
    *("topology.kubernetes.io/zone", "topology.kubernetes.io/region", "node.kubernetes.io/instance-type"),
    *(f"app.kubernetes.io/{name}" for name in ("name", "instance", "version", "component", "part-of", "managed-by")),
    *("app.kubernetes.io/created-by", "eks.amazonaws.com/role-arn", "iam.gke.io/gcp-service-account"),
    *("nvidia.com/gpu", "amd.com/gpu", "google.com/tpu", "aws.amazon.com/neuron", "cloud.google.com/gke-accelerator"),
    *("cloud.google.com/gke-spot", "karpenter.sh/capacity-type", "eks.amazonaws.com/capacityType"),
    *(f"ray.io/{name}" for name in ("group", "cluster", "node-type", "serve", "is-ray-node", "identifier")),
    *("ray.io/ft-enabled", "ray.io/external-storage-namespace", "ray.io/overwrite-container-cmd"),
)
_VALUES = {
    "app.kubernetes.io/name": ("kuberay-operator", "kuberay"),
    "app.kubernetes.io/created-by": ("kuberay-operator",),
}
_ROLES = {
    "eks.amazonaws.com/role-arn": re.compile(r"arn:aws[\w-]*:iam::(\d{12}|FILL_IN_ACCOUNT):role/[\w+=,.@/-]+"),
    "iam.gke.io/gcp-service-account": re.compile(r"[a-z0-9-]+@[\w.:-]+\.iam\.gserviceaccount\.com"),
}
_KEY = re.compile(r"([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([\w.-]{0,61}[A-Za-z0-9])?")
_VALUE = re.compile(r"([A-Za-z0-9]([\w.-]{0,61}[A-Za-z0-9])?)?")
_MAPS = ("labels", "matchLabels", "nodeSelector", "annotations")
_GROUP = "ray.io/group"
_SHORTEST = 6
"""Of shorter parts of a name, one may well be like another."""


def check(document: Mapping[str, Any]) -> Iterator[Problem]:
    """Problems of every label, annotation, topology and taint that a manifest names."""
    groups = {"headgroup", *_groups(document)}
    seen: dict[str, dict[str, str]] = {}
    for place, key, value in _pairs(document, ""):
        yield from _check_key(key, place)
        if value is None:
            continue
        annotation = ".annotations." in f".{place}."
        if not annotation and not _VALUE.fullmatch(value):
            yield Problem(
                field=place, what="is no value of a label", value=value, remedy="use letters, digits, -, _, ."
            )
        if key in _ROLES and not _ROLES[key].fullmatch(value):
            yield Problem(field=place, what="is no role", value=value, remedy="see cluster/kuberay/access.yaml")
        near = difflib.get_close_matches(value, _VALUES.get(key, ()), n=1, cutoff=0.85)
        if near and near[0] != value:
            yield Problem(
                field=place, what="is nearly a name of KubeRay's", value=value, remedy=f"did you mean {near[0]}?"
            )
        if key == _GROUP and len(groups) > 1 and value not in groups:
            yield Problem(
                field=place, what="no group of this cluster", value=value, remedy=f"known: {', '.join(sorted(groups))}"
            )
        if not annotation:
            yield from _check_twin(place, value, seen.setdefault(key, {}))


def near_known(name: str) -> str | None:
    """The well-known name that this one is nearly."""
    near = difflib.get_close_matches(name, _KNOWN, n=1, cutoff=0.88)
    return near[0] if near and name not in _KNOWN else None


def _check_key(key: str, place: str) -> Iterator[Problem]:
    if not _KEY.fullmatch(key):
        yield Problem(field=place, what="is no label", value=key, remedy="use letters, digits, -, _, . and one /")
    elif "/" in key and (near := near_known(key)):
        yield Problem(field=place, what="nobody looks for this name", value=key, remedy=f"did you mean {near}?")


def _check_twin(place: str, value: str, seen: dict[str, str]) -> Iterator[Problem]:
    """One label with two values that differ in a letter inside a word."""
    for other, where in seen.items():
        if _are_twins(value, other):
            yield Problem(
                field=place,
                what=f"is nearly another in this file, {other} at {where}",
                value=value,
                remedy="write the same",
            )
    seen.setdefault(value, place)


def _are_twins(one: str, other: str) -> bool:
    parts = list(zip(one.split("-"), other.split("-"), strict=False))
    differ = [(a, b) for a, b in parts if a != b]
    if one.count("-") != other.count("-") or len(differ) != 1:
        return False
    a, b = differ[0]
    if min(len(a), len(b)) < _SHORTEST or a.startswith(b) or b.startswith(a) or re.search(r"\d", a + b):
        return False
    return difflib.SequenceMatcher(None, a, b).ratio() > 0.9


def _pairs(value: Any, place: str) -> Iterator[tuple[str, str, str | None]]:
    """Place, name and value (None where there is none) of all that other programs look for."""
    if isinstance(value, list):
        for index, part in enumerate(value):
            yield from _pairs(part, inside(place, index))
    if not isinstance(value, Mapping):
        return
    for key, part in value.items():
        here = inside(place, key)
        if (key in _MAPS or (key == "selector" and ".volumeClaimTemplates" not in place)) and _is_flat(part):
            yield from ((inside(here, name), name, text) for name, text in part.items())
        elif (key == "topologyKey" or (key == "key" and _in_a_list(place, "tolerations", "matchExpressions"))) and part:
            yield here, str(part), None
        else:
            yield from _pairs(part, here)


def _in_a_list(place: str, *names: str) -> bool:
    return any(re.search(rf"\b{name}\.\d+$", place) for name in names)


def _is_flat(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(part, str) for part in value.values())


def _groups(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for part in value:
            yield from _groups(part)
    elif isinstance(value, Mapping):
        if isinstance(value.get("groupName"), str):
            yield value["groupName"]
        for part in value.values():
            yield from _groups(part)
