"""RayService: the Serve configuration inside it, and whether the pods around it fit. Takes the fields as checked."""

from collections.abc import Iterator, Mapping
from typing import Any

from genre_ray.cluster.amounts import number
from genre_ray.cluster.problem import Problem, inside
from genre_ray.errors import ConfigError
from genre_ray.parsing import yaml_documents
from genre_ray.serve.config import check as check_serve_config

_PORT = 8000
_SERVE = "serve"
"""The operator looks for the port of this name (its constant DefaultServingPortName)."""


def check(spec: Mapping[str, Any]) -> Iterator[Problem]:
    """Problems of a RayService's specification."""
    place = "spec.serveConfigV2"
    document, problem = _parse(spec["serveConfigV2"], place)
    if problem is not None:
        yield problem
    else:
        found = list(_check_applications(document, place))
        yield from found
        if not found:
            yield from _check_pods(document, spec["rayClusterConfig"], place)
    strategy = spec.get("upgradeStrategy") or {}
    if strategy.get("type") == "NewClusterWithIncrementalUpgrade" and not strategy.get("clusterUpgradeOptions"):
        yield Problem(
            field="spec.upgradeStrategy.clusterUpgradeOptions", what="is missing", remedy="say the steps of the upgrade"
        )


def _check_applications(document: dict[str, Any], place: str) -> Iterator[Problem]:
    if not document.get("applications"):
        yield Problem(field=inside(place, "applications"), what="is missing", remedy="name at least one application")
        return
    try:
        check_serve_config(document, origin=place)
    except ConfigError as error:
        for line in error.message.splitlines():
            yield Problem(field=place, what=line.removeprefix(f"{place}: "), remedy="see serve_configs/hybrid.yaml")


def _check_pods(document: dict[str, Any], cluster: Mapping[str, Any], place: str) -> Iterator[Problem]:
    options = document.get("http_options") or {}
    port, host = options.get("port", _PORT), str(options.get("host", ""))
    if host.startswith("127.") or host in ("localhost", "::1"):
        yield Problem(
            field=f"{place}.http_options.host",
            what="is reached from inside a pod only",
            value=host,
            remedy="write 0.0.0.0, and require a token",
        )
    pods = [("headGroupSpec", cluster["headGroupSpec"])]
    pods += [(f"workerGroupSpecs.{i}", group) for i, group in enumerate(cluster.get("workerGroupSpecs") or [])]
    cpus = 0.0
    for name, group in pods:
        containers = (group["template"].get("spec") or {}).get("containers") or [{}]
        container: Mapping[str, Any] = containers[0]
        limits = (container.get("resources") or {}).get("limits") or {}
        cpus = max(cpus, number((group.get("rayStartParams") or {}).get("num-cpus", limits.get("cpu", 0))))
        here = f"spec.rayClusterConfig.{name}.template.spec.containers.0"
        serves = len(pods) == 1 or name != pods[0][0]
        yield from _check_ports(container.get("ports") or [], inside(here, "ports"), port, serves=serves)
        if serves and not _has_tokens(document, container):
            yield Problem(
                field=inside(here, "env"),
                what="lacks GENRE_RAY_TOKENS, without which the service does not listen beyond its machine",
                remedy="take it from a Secret with valueFrom.secretKeyRef",
            )
    yield from _check_room(document, cpus, place)


def _has_tokens(document: dict[str, Any], container: Mapping[str, Any]) -> bool:
    names = {entry["name"] for entry in container.get("env") or []}
    security = [(entry.get("args") or {}).get("security") or {} for entry in document["applications"]]
    off = any(entry.get("auth") == "off" for entry in security)
    return off or bool(container.get("envFrom")) or bool(names & {"GENRE_RAY_TOKENS", "GENRE_RAY_TOKENS_FILE"})


def _check_ports(ports: list[Any], place: str, port: int, *, serves: bool) -> Iterator[Problem]:
    """By its name the operator finds the port of the service, and the number must be that of http_options."""
    named = [entry for entry in ports if entry.get("name") == _SERVE]
    for index, entry in enumerate(ports):
        if entry["containerPort"] == port and not named:
            yield Problem(
                field=f"{place}.{index}.name",
                what="is not serve, by which the operator finds the port of the service",
                value=entry.get("name"),
                remedy="write serve",
            )
        elif entry in named and entry["containerPort"] != port:
            yield Problem(
                field=f"{place}.{index}.containerPort",
                what=f"is not http_options.port, {port}",
                value=entry["containerPort"],
                remedy="make them equal",
            )
    if serves and port not in [entry["containerPort"] for entry in ports] and not named:
        yield Problem(
            field=place, what=f"lacks http_options.port, {port}", remedy=f"add {{name: serve, containerPort: {port}}}"
        )


def _check_room(document: dict[str, Any], cpus: float, place: str) -> Iterator[Problem]:
    for index, application in enumerate(document["applications"]):
        for inner, deployment in enumerate(application.get("deployments") or []):
            asked = (deployment.get("ray_actor_options") or {}).get("num_cpus") or 0
            if 0 < cpus < asked:
                yield Problem(
                    field=f"{place}.applications.{index}.deployments.{inner}.ray_actor_options.num_cpus",
                    what="no pod of this cluster has so many",
                    value=asked,
                    remedy=f"the largest has {cpus:g}",
                )


def _parse(text: str, place: str) -> tuple[dict[str, Any], Problem | None]:
    try:
        documents = yaml_documents(text, origin=place)
    except ConfigError as error:
        return {}, Problem(field=place, what=f"is no valid YAML: {error.found}", remedy="mend it at that line")
    if len(documents) != 1 or not isinstance(documents[0], dict):
        return {}, Problem(field=place, what="is not a mapping", value=text, remedy="write key: value lines")
    return documents[0], None
