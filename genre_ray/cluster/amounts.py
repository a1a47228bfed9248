"""Requests and limits anywhere in a Kubernetes manifest: names that exist, amounts that can be meant.

Knows nothing about kinds.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

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
            if "/" not in name and name not in _NAMES and not name.startswith("hugepages-"):
                yield Problem(field=here, what="no resource of Kubernetes", value=amount, remedy=spelling(name, _NAMES))
            elif name in _NAMES[1:] and _number(amount) < _LEAST_BYTES:
                yield Problem(field=here, what="is a few bytes", value=amount, remedy="give a unit, as in 4Gi")
            elif field == "requests" and name in limits and _number(amount) > _number(limits[name]):
                yield Problem(
                    field=here, what=f"exceeds the limit {limits[name]}", value=amount, remedy="lower it, or raise that"
                )


def _number(amount: Any) -> float:
    """A quantity (apimachinery's resource.Quantity) as a number."""
    found = re.fullmatch(r"([+-]?[\d.]+)([a-zA-Z]*)", str(amount))
    if found is None or found[2] not in _FACTORS:
        return float(amount)  # 1e3
    return float(found[1]) * _FACTORS[found[2]]
