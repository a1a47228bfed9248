"""What the documents of one file say of one another: who selects which pods, on which ports, under which names.

Takes fields as checked. Asks no cluster: what another file holds cannot be told.
"""

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from genre_ray.cluster.problem import Problem, inside, spelling

WORKLOADS = ("Deployment", "StatefulSet")
"""The kinds that make pods by a template, Ray's own aside."""

_FIELDS = {"Service": "selector", "NetworkPolicy": "podSelector"}


def labels_of(workload: Mapping[str, Any]) -> Mapping[str, Any]:
    """The labels of the pods that a workload makes."""
    found = ((workload.get("spec") or {}).get("template") or {}).get("metadata") or {}
    return found.get("labels") or {}


def check_selectors(documents: Sequence[Any]) -> Iterator[tuple[int, Problem]]:
    """Problems of documents with one another, each with the place of its document."""
    workloads = [entry for entry in documents if isinstance(entry, Mapping) and entry.get("kind") in WORKLOADS]
    services = {
        entry["metadata"]["name"]
        for entry in documents
        if isinstance(entry, Mapping) and entry.get("kind") == "Service"
    }
    for index, document in enumerate(documents):
        spec = document.get("spec") if isinstance(document, Mapping) else None
        if not isinstance(spec, Mapping):
            continue
        kind = str(document.get("kind"))
        found: list[Problem] = []
        if kind in _FIELDS:
            found += _check_selected(spec, _FIELDS[kind], workloads)
        if kind == "Service":
            found += _check_address(spec)
        if kind == "NetworkPolicy":
            found += _check_types(spec)
        if kind == "StatefulSet" and services and spec.get("serviceName") not in services:
            name = spec.get("serviceName")
            found.append(
                Problem(
                    field="spec.serviceName",
                    what="no Service of this file",
                    value=name,
                    remedy=spelling(name, services),
                )
            )
        yield from ((index, problem) for problem in found)


def _check_selected(spec: Mapping[str, Any], field: str, workloads: list[Any]) -> Iterator[Problem]:
    selector = spec.get(field) or {}
    wanted = selector.get("matchLabels", {}) if field == "podSelector" else selector
    if not workloads or not isinstance(wanted, Mapping):
        return
    selected = [entry for entry in workloads if wanted.items() <= labels_of(entry).items()]
    if not selected:
        yield Problem(
            field=f"spec.{field}",
            what="selects no pod of this file",
            value=wanted,
            remedy=f"its pods have the labels {[labels_of(entry) for entry in workloads]}",
        )
        return
    open_ports = [port for entry in selected for port in _ports(entry)]
    known = {port["containerPort"] for port in open_ports} | {port.get("name") for port in open_ports}
    for place, port in _wanted_ports(spec, field):
        if open_ports and port not in known:
            yield Problem(
                field=place,
                what="no port of the pods that it selects",
                value=port,
                remedy=f"they have {', '.join(sorted(str(port) for port in known if port))}",
            )


def _wanted_ports(spec: Mapping[str, Any], field: str) -> Iterator[tuple[str, Any]]:
    if field == "selector":
        for index, port in enumerate(spec.get("ports") or []):
            yield f"spec.ports.{index}.targetPort", port.get("targetPort", port["port"])
        return
    for index, rule in enumerate(spec.get("ingress") or []):
        for inner, port in enumerate(rule.get("ports") or []):
            if "port" in port and "endPort" not in port:
                yield f"spec.ingress.{index}.ports.{inner}.port", port["port"]


def _ports(workload: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for container in workload["spec"]["template"].get("spec", {}).get("containers") or []:
        yield from container.get("ports") or []


def _check_address(spec: Mapping[str, Any]) -> Iterator[Problem]:
    addresses = {"clusterIP": spec.get("clusterIP")} | {
        inside("clusterIPs", index): value for index, value in enumerate(spec.get("clusterIPs") or [])
    }
    for field, value in addresses.items():
        if value not in (None, "", "None") and not _is_ip(value):
            yield Problem(
                field=f"spec.{field}",
                what="is no address",
                value=value,
                remedy="write None (headless), or leave it out",
            )


def _check_types(spec: Mapping[str, Any]) -> Iterator[Problem]:
    types = spec.get("policyTypes")
    for direction in ("Ingress", "Egress"):
        if types is not None and direction.lower() in spec and direction not in types:
            yield Problem(
                field="spec.policyTypes",
                what=f"lacks {direction}, so that spec.{direction.lower()} is not applied",
                value=types,
                remedy=f"add {direction}",
            )


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
