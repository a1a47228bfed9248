"""RayCluster, and the clusters inside RayJob and RayService: what the operator's API lets pass.

Takes their fields as checked. Knows nothing about pods beyond their being there.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import ray

from genre_ray.cluster import rayjob, rayservice
from genre_ray.cluster.commands import check_option
from genre_ray.cluster.problem import Problem, inside
from genre_ray.serve.addresses import host_fault, port_fault

_GROUP = re.compile(r"[a-z0-9]([a-z0-9-]{0,50}[a-z0-9])?")


def clusters(document: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The cluster specification in one of the three kinds, with its place; nothing for other kinds."""
    spec = document.get("spec") or {}
    found = {"RayCluster": "spec", "RayJob": "spec.rayClusterSpec", "RayService": "spec.rayClusterConfig"}
    place = found.get(str(document.get("kind")))
    if place is None:
        return
    cluster = spec if place == "spec" else spec.get(place.removeprefix("spec."))
    if isinstance(cluster, Mapping) and isinstance(cluster.get("headGroupSpec"), Mapping):
        yield place, cluster


def check(document: Mapping[str, Any]) -> Iterator[Problem]:
    """Problems of a RayCluster, RayJob or RayService whose fields fit the API."""
    for place, cluster in clusters(document):
        yield from _check_cluster(cluster, place)
    spec = document["spec"]
    if document["kind"] == "RayJob":
        yield from rayjob.check(spec)
    if document["kind"] == "RayService":
        yield from rayservice.check(spec)


def _check_cluster(cluster: Mapping[str, Any], place: str) -> Iterator[Problem]:
    version = cluster.get("rayVersion")
    if version != ray.__version__:
        yield Problem(
            field=inside(place, "rayVersion"),
            what=f"is not Ray {ray.__version__}, which the lock installs into the image",
            value=version,
            remedy=f"write {ray.__version__!r}, in quotes",
        )
    if not (cluster.get("authOptions") or {}).get("mode"):
        yield Problem(
            field=inside(place, "authOptions.mode"),
            what="is missing: whoever reached the head could run any code",
            remedy="write authOptions: {mode: token}",
        )
    head = cluster["headGroupSpec"]
    yield from _check_params(head, inside(place, "headGroupSpec"))
    if head.get("serviceType") in ("NodePort", "LoadBalancer"):
        yield Problem(
            field=f"{place}.headGroupSpec.serviceType",
            what="opens the dashboard, which runs any code, beyond the cluster",
            value=head["serviceType"],
            remedy="use ClusterIP and `kubectl port-forward`",
        )
    groups = cluster.get("workerGroupSpecs") or []
    for name, count in Counter(group["groupName"] for group in groups).items():
        if count > 1:
            yield Problem(
                field=inside(place, "workerGroupSpecs"),
                what="a groupName is given twice",
                value=name,
                remedy="rename one",
            )
    scales = bool(cluster.get("enableInTreeAutoscaling"))
    for index, group in enumerate(groups):
        yield from _check_group(group, f"{place}.workerGroupSpecs.{index}", scales=scales)
    if "autoscalerOptions" in cluster and not scales:
        yield Problem(
            field=inside(place, "autoscalerOptions"),
            what="has no effect without enableInTreeAutoscaling",
            remedy="write enableInTreeAutoscaling: true",
        )
    yield from _check_store(cluster.get("gcsFaultToleranceOptions"), inside(place, "gcsFaultToleranceOptions"))


def _check_params(group: Mapping[str, Any], place: str) -> Iterator[Problem]:
    for name, value in (group.get("rayStartParams") or {}).items():
        # The operator itself reaches the dashboard from another pod, so there it listens on every address.
        if name != "dashboard-host" or value != "0.0.0.0":  # noqa: S104 - looked for, not bound
            yield from check_option(name, value, f"{place}.rayStartParams.{name}")


def _check_group(group: Mapping[str, Any], place: str, *, scales: bool) -> Iterator[Problem]:
    yield from _check_params(group, place)
    if not _GROUP.fullmatch(group["groupName"]):
        yield Problem(
            field=inside(place, "groupName"), what="is no name", value=group["groupName"], remedy="use a-z, 0-9 and -"
        )
    containers = (group["template"].get("spec") or {}).get("containers") or [{}]
    limits = (containers[0].get("resources") or {}).get("limits") or {}
    if "gpu" in group["groupName"] and not any("/" in name for name in limits):
        yield Problem(
            field=inside(place, "groupName"),
            what="is gpu, and its pods ask for none",
            value=group["groupName"],
            remedy="add nvidia.com/gpu: 1 to requests and limits, or rename it",
        )
    least, most = group.get("minReplicas", 0), group.get("maxReplicas")
    if most is None:
        yield Problem(field=inside(place, "maxReplicas"), what="is missing: there is no limit", remedy="give one")
        return
    if not 0 <= least <= most:
        yield Problem(field=inside(place, "minReplicas"), what=f"not in 0..{most}", value=least, remedy="lower it")
    count = group.get("replicas", least)
    if not least <= count <= most:
        yield Problem(
            field=inside(place, "replicas"), what=f"not in {least}..{most}", value=count, remedy="put it inside"
        )
    if not scales and least != most and count != most:
        yield Problem(
            field=inside(place, "maxReplicas"),
            what="never reached without enableInTreeAutoscaling",
            value=most,
            remedy="write enableInTreeAutoscaling: true",
        )


def _check_store(options: Mapping[str, Any] | None, place: str) -> Iterator[Problem]:
    if options is None:
        return
    if options.get("backend", "redis") == "redis" and not options.get("redisAddress"):
        yield Problem(
            field=inside(place, "redisAddress"), what="is missing", remedy="write the address, such as redis:6379"
        )
    elif options.get("redisAddress") and not _is_address(options["redisAddress"]):
        yield Problem(
            field=inside(place, "redisAddress"),
            what="is no host:port",
            value=options["redisAddress"],
            remedy="write the address with its port, such as redis:6379",
        )
    for field in ("redisUsername", "redisPassword"):
        if (options.get(field) or {}).get("value"):
            yield Problem(
                field=f"{place}.{field}.value",
                what="a credential in the file",
                remedy="take it from a Secret with valueFrom.secretKeyRef",
            )


def _is_address(text: str) -> bool:
    host, _, port = text.removeprefix("redis://").removeprefix("rediss://").rpartition(":")
    return host_fault(host) is None and port.isdecimal() and port_fault(int(port)) is None
