"""A Kubernetes manifest: its fields against the API, and what the API lets pass in pods. Asks no cluster."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from genre_ray.cluster import amounts, kuberay
from genre_ray.cluster.problem import Problem, inside, spelling
from genre_ray.cluster.scan import holds_placeholder
from genre_ray.cluster.shape import shapes

KINDS = {
    "ConfigMap": "v1",
    "Deployment": "apps/v1",
    "Ingress": "networking.k8s.io/v1",
    "Namespace": "v1",
    "NetworkPolicy": "networking.k8s.io/v1",
    "PersistentVolumeClaim": "v1",
    "PodDisruptionBudget": "policy/v1",
    "RayCluster": "ray.io/v1",
    "RayJob": "ray.io/v1",
    "RayService": "ray.io/v1",
    "Secret": "v1",
    "Service": "v1",
    "ServiceAccount": "v1",
    "StatefulSet": "apps/v1",
}
"""The kinds that are checked, and the API version of each."""

_WORKLOADS = ("Deployment", "StatefulSet")
_DNS_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_SECRET_NAME = re.compile(r"(?i)(password|passwd|secret|token|api_?key|access_?key)")
_NOT_SECRET = re.compile(r"(?i)(_FILE|_PATH|_MODE|_NAME|_URI)$")


def check(document: Mapping[str, Any]) -> Iterator[Problem]:
    """Problems of one manifest, given as its parsed content."""
    kind, version = document.get("kind"), document.get("apiVersion")
    if not isinstance(kind, str) or kind not in KINDS:
        yield Problem(
            field="kind", what="not a kind that can be checked here", value=kind, remedy=spelling(kind, KINDS)
        )
        return
    if version != KINDS[kind]:
        yield Problem(field="apiVersion", what=f"not that of {kind}", value=version, remedy=f"write {KINDS[kind]}")
    found = shapes("kubernetes", "kuberay").check(kind, document, "")
    yield from (problem for problem in found if problem.field != "apiVersion")
    yield from _check_name(document)
    if kind == "Secret" and (document.get("data") or document.get("stringData")):
        yield Problem(
            field="stringData" if document.get("stringData") else "data",
            what="a secret in a file",
            remedy="make it with `kubectl create secret generic`, see cluster/README.md",
        )
    # The rules beyond the fields take the fields for granted.
    if not found:
        yield from amounts.check(document)
        yield from _check_own_selector(document, kind)
        for place, template, ray in _templates(document, kind):
            yield from _check_pod(template.get("spec") or {}, inside(place, "spec"), _claims(document), ray=ray)
        if kind.startswith("Ray"):
            yield from kuberay.check(document)


def _check_name(document: Mapping[str, Any]) -> Iterator[Problem]:
    metadata = document.get("metadata")
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    if not (isinstance(name, str) and _DNS_LABEL.fullmatch(name)):
        yield Problem(
            field="metadata.name", what="is no name", value=name, remedy="use small letters, digits and -, at most 63"
        )


def _templates(document: Mapping[str, Any], kind: str) -> Iterator[tuple[str, Mapping[str, Any], bool]]:
    """The pod templates of a manifest: place, template, and whether Ray's nodes run in it."""
    spec = document.get("spec") or {}
    if kind in _WORKLOADS:
        yield "spec.template", spec["template"], False
    if spec.get("submitterPodTemplate"):
        yield "spec.submitterPodTemplate", spec["submitterPodTemplate"], False
    for place, cluster in kuberay.clusters(document):
        yield f"{place}.headGroupSpec.template", cluster["headGroupSpec"]["template"], True
        for index, group in enumerate(cluster.get("workerGroupSpecs") or []):
            yield f"{place}.workerGroupSpecs.{index}.template", group["template"], True


def check_selectors(documents: Sequence[Any]) -> Iterator[tuple[int, Problem]]:
    """Services and policies of a file that select none of the pods which the same file makes; with their places."""
    workloads = [entry for entry in documents if isinstance(entry, Mapping) and entry.get("kind") in _WORKLOADS]
    made = [_labels(entry) for entry in workloads]
    for index, document in enumerate(documents):
        spec = document.get("spec") if isinstance(document, Mapping) else None
        if not made or not isinstance(spec, Mapping):
            continue
        field = {"Service": "selector", "NetworkPolicy": "podSelector"}.get(str(document.get("kind")), "")
        selector = spec.get(field) or {}
        wanted = selector.get("matchLabels", {}) if field == "podSelector" else selector
        if isinstance(wanted, Mapping) and not any(wanted.items() <= labels.items() for labels in made):
            yield (
                index,
                Problem(
                    field=f"spec.{field}",
                    what="selects no pod of this file",
                    value=wanted,
                    remedy=f"its pods have the labels {made}",
                ),
            )


def _check_own_selector(document: Mapping[str, Any], kind: str) -> Iterator[Problem]:
    if kind in _WORKLOADS:
        wanted = document["spec"]["selector"].get("matchLabels") or {}
        if not wanted.items() <= _labels(document).items():
            yield Problem(
                field="spec.selector.matchLabels",
                what="does not select the pods of spec.template",
                value=wanted,
                remedy=f"they have the labels {_labels(document)}",
            )


def _labels(workload: Mapping[str, Any]) -> Mapping[str, Any]:
    found = ((workload.get("spec") or {}).get("template") or {}).get("metadata") or {}
    return found.get("labels") or {}


def _claims(document: Mapping[str, Any]) -> set[str]:
    claims = (document.get("spec") or {}).get("volumeClaimTemplates") or []
    return {claim["metadata"]["name"] for claim in claims if claim.get("metadata")}


def _check_pod(spec: Mapping[str, Any], place: str, claims: set[str], *, ray: bool) -> Iterator[Problem]:
    if not spec.get("containers"):
        yield Problem(field=inside(place, "containers"), what="is empty", remedy="give one container")
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(field):
            yield Problem(
                field=inside(place, field), what="takes the pod out of its isolation", value=True, remedy="leave it out"
            )
    volumes = {volume["name"] for volume in spec.get("volumes") or []} | claims
    for field in ("initContainers", "containers"):
        containers = spec.get(field) or []
        yield from _check_unique([container["name"] for container in containers], inside(place, field))
        for index, container in enumerate(containers):
            here = inside(inside(place, field), index)
            yield from _check_container(container, here, volumes)
            if ray and field == "containers" and index == 0:
                yield from _check_resources(container.get("resources") or {}, inside(here, "resources"))


def _check_container(container: Mapping[str, Any], place: str, volumes: set[str]) -> Iterator[Problem]:
    image = container.get("image")
    if not image:
        yield Problem(field=inside(place, "image"), what="is missing", remedy="name an image with its tag")
    elif not holds_placeholder(image) and (":" not in image.rsplit("/", 1)[-1] or image.endswith(":latest")):
        yield Problem(
            field=inside(place, "image"),
            what="does not say which version",
            value=image,
            remedy="give a tag or a digest",
        )
    for index, mount in enumerate(container.get("volumeMounts") or []):
        if mount["name"] not in volumes:
            yield Problem(
                field=f"{place}.volumeMounts.{index}.name",
                what="no volume of this pod",
                value=mount["name"],
                remedy=spelling(mount["name"], volumes) if volumes else "add it to volumes",
            )
    names = [entry["name"] for entry in container.get("env") or []]
    yield from _check_unique(names, inside(place, "env"))
    for index, entry in enumerate(container.get("env") or []):
        if entry.get("value") and _SECRET_NAME.search(entry["name"]) and not _NOT_SECRET.search(entry["name"]):
            yield Problem(
                field=f"{place}.env.{index}.value",
                what=f"{entry['name']} looks like a secret",
                remedy="take it from a Secret with valueFrom.secretKeyRef",
            )
    security = container.get("securityContext") or {}
    if security.get("privileged"):
        yield Problem(
            field=f"{place}.securityContext.privileged",
            what="is root on the machine",
            value=True,
            remedy="leave it out",
        )


def _check_unique(names: list[str], place: str) -> Iterator[Problem]:
    for name, count in Counter(names).items():
        if count > 1:
            yield Problem(field=place, what="a name is given twice", value=name, remedy="give each its own")


def _check_resources(resources: Mapping[str, Any], place: str) -> Iterator[Problem]:
    """Ray reads what a node has from these: without them it believes that it has the whole machine."""
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    for name in ("cpu", "memory"):
        if name not in limits and not (name == "cpu" and name in requests):
            yield Problem(
                field=f"{place}.limits.{name}",
                what="is missing, and Ray would take the whole machine's for this node's",
                remedy="give it",
            )
    if "memory" in requests and "memory" in limits and requests["memory"] != limits["memory"]:
        yield Problem(
            field=f"{place}.requests.memory",
            what=f"differs from the limit {limits['memory']}: Ray plans with the limit and is killed for it",
            value=requests["memory"],
            remedy="make them equal",
        )
    for name in set(limits) | set(requests):
        if str(name).endswith("/gpu") and requests.get(name, limits.get(name)) != limits.get(name):
            yield Problem(
                field=f"{place}.limits.{name}",
                what="differs from the request",
                value=limits.get(name),
                remedy="make them equal",
            )
