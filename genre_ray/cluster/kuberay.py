"""RayCluster, RayJob and RayService: what the operator's API lets pass. Takes their fields as checked.

Knows nothing about pods beyond their being there.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import ray
import yaml
from ray.runtime_env import RuntimeEnv

from genre_ray.cluster.commands import check_option
from genre_ray.cluster.problem import Problem, inside, spelling
from genre_ray.errors import ConfigError
from genre_ray.serve.config import check as check_serve_config

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
        yield from _check_job(spec)
    if document["kind"] == "RayService":
        yield from _check_service(spec)


def _check_cluster(cluster: Mapping[str, Any], place: str) -> Iterator[Problem]:
    version = cluster.get("rayVersion")
    if version != ray.__version__:
        yield Problem(
            field=inside(place, "rayVersion"),
            what=f"is not Ray {ray.__version__}, which the lock installs into the image",
            value=version,
            remedy=f"write {ray.__version__!r}, in quotes",
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
        if name != "dashboard-host":
            yield from check_option(name, value, f"{place}.rayStartParams.{name}")


def _check_group(group: Mapping[str, Any], place: str, *, scales: bool) -> Iterator[Problem]:
    yield from _check_params(group, place)
    if not _GROUP.fullmatch(group["groupName"]):
        yield Problem(
            field=inside(place, "groupName"), what="is no name", value=group["groupName"], remedy="use a-z, 0-9 and -"
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
    for field in ("redisUsername", "redisPassword"):
        if (options.get(field) or {}).get("value"):
            yield Problem(
                field=f"{place}.{field}.value",
                what="a credential in the file",
                remedy="take it from a Secret with valueFrom.secretKeyRef",
            )


def _check_job(spec: Mapping[str, Any]) -> Iterator[Problem]:
    if bool(spec.get("rayClusterSpec")) == bool(spec.get("clusterSelector")):
        yield Problem(
            field="spec.rayClusterSpec",
            what="a job needs a cluster of its own or a clusterSelector, one of the two",
            remedy="give exactly one",
        )
    if not spec.get("entrypoint") and spec.get("submissionMode") != "InteractiveMode":
        yield Problem(
            field="spec.entrypoint", what="is missing", remedy="write the command, python -m genre_ray.tune ..."
        )
    if spec.get("ttlSecondsAfterFinished") and not spec.get("shutdownAfterJobFinishes"):
        yield Problem(
            field="spec.ttlSecondsAfterFinished",
            what="has no effect without shutdownAfterJobFinishes",
            value=spec["ttlSecondsAfterFinished"],
            remedy="write shutdownAfterJobFinishes: true",
        )
    if spec.get("entrypointResources"):
        yield from _check_json(spec["entrypointResources"], "spec.entrypointResources")
    if spec.get("runtimeEnvYAML"):
        yield from _check_runtime_env(spec["runtimeEnvYAML"], "spec.runtimeEnvYAML")


def _check_json(text: str, place: str) -> Iterator[Problem]:
    try:
        fits = isinstance(json.loads(text), dict)
    except json.JSONDecodeError:
        fits = False
    if not fits:
        yield Problem(field=place, what="is no JSON object", value=text, remedy='write one like {"GPU": 1}')


def _check_runtime_env(text: str, place: str) -> Iterator[Problem]:
    document, problem = _parse(text, place)
    if problem is not None:
        yield problem
        return
    for key, value in document.items():
        if key not in RuntimeEnv.known_fields:
            yield Problem(
                field=inside(place, key),
                what="unknown field",
                value=value,
                remedy=spelling(key, RuntimeEnv.known_fields),
            )


def _check_service(spec: Mapping[str, Any]) -> Iterator[Problem]:
    place = "spec.serveConfigV2"
    document, problem = _parse(spec["serveConfigV2"], place)
    if problem is not None:
        yield problem
    else:
        yield from _check_applications(document, place)
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


def _parse(text: str, place: str) -> tuple[dict[str, Any], Problem | None]:
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        said = " ".join(str(error).split())
        return {}, Problem(field=place, what=f"is no valid YAML: {said}", remedy="mend it at that line")
    if not isinstance(document, dict):
        return {}, Problem(field=place, what="is not a mapping", value=text, remedy="write key: value lines")
    return document, None
