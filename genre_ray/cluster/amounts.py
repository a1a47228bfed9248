"""Requests and limits anywhere in a Kubernetes manifest: names that exist, amounts that can be meant.

Knows nothing about kinds.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from genre_ray.cluster.labels import near_known
from genre_ray.cluster.problem import Problem, inside, spelling

_NAMES = ("cpu", "memory", "ephemeral-storage", "storage")
"""The resources without a domain in their name; any other must have one, as nvidia.com/gpu has."""

_FACTORS = {"n": 1e-9, "u": 1e-6, "m": 1e-3, "": 1.0, "k": 1e3} | {
    letter + binary: float(base) ** power
    for power, letter in enumerate("KMGTPE", start=1)
    for binary, base in (("", 1000), ("i", 1024))
}
_LEAST_BYTES = 4 * 1024**2
"""Less memory or storage than this no process starts in: the unit was forgotten."""


def check(value: object, place: str = "") -> Iterator[Problem]:
    """Problems of every `resources` under `value`, whose fields fit the API."""
    if isinstance(value, list):
        for index, part in enumerate(value):
            yield from check(part, inside(place, index))
    elif isinstance(value, Mapping):
        for key, part in value.items():
            here = inside(place, key)
            if key == "resources" and isinstance(part, Mapping):
                yield from _check(part, here)
            else:
                yield from check(part, here)


def _check(resources: Mapping[str, Any], place: str) -> Iterator[Problem]:
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    for field, amounts in (("requests", requests), ("limits", limits)):
        for name, amount in amounts.items():
            here = f"{place}.{field}.{name}"
            size, domain = number(amount), name.rpartition("/")[0]
            near = near_known(name) if domain else None
            if size < 0:
                yield Problem(field=here, what="is below 0", value=amount, remedy="give 0 or more")
            elif near or (domain and "." not in domain):
                remedy = f"did you mean {near}?" if near else "a resource with a / begins with a domain: nvidia.com/gpu"
                yield Problem(field=here, what="no resource of Kubernetes", value=amount, remedy=remedy)
            elif not domain and name not in _NAMES and not name.startswith("hugepages-"):
                yield Problem(field=here, what="no resource of Kubernetes", value=amount, remedy=spelling(name, _NAMES))
            elif domain and size != int(size):
                yield Problem(
                    field=here, what="is not a whole number", value=amount, remedy="such devices are not shared"
                )
            elif name in _NAMES[1:] and size < _LEAST_BYTES:
                yield Problem(field=here, what="is a few bytes", value=amount, remedy="give a unit, as in 4Gi")
            elif field == "requests" and name in limits and size > number(limits[name]):
                yield Problem(
                    field=here, what=f"exceeds the limit {limits[name]}", value=amount, remedy="lower it, or raise that"
                )


def check_node(resources: Mapping[str, Any], place: str) -> Iterator[Problem]:
    """What a container asks for in which one of Ray's nodes is to run: less than its own processes take is a slip."""
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    for name, least in (("cpu", "100m"), ("memory", "256Mi")):
        amount = limits.get(name, requests.get(name))
        if amount is not None and 0 <= number(amount) < number(least):
            yield Problem(
                field=f"{place}.limits.{name}",
                what=f"is less than Ray's processes need, {least}",
                value=amount,
                remedy="give more",
            )


def number(amount: Any) -> float:
    """A quantity (apimachinery's resource.Quantity) as a number."""
    found = re.fullmatch(r"([+-]?[\d.]+)([a-zA-Z]*)", str(amount))
    if found is None or found[2] not in _FACTORS:
        return float(amount)  # 1e3
    return float(found[1]) * _FACTORS[found[2]]
