"""A Kubernetes manifest: which kinds there are, its fields against the API, and where its pods are. Asks no cluster."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from genre_ray.cluster import amounts, kuberay, labels
from genre_ray.cluster.pods import check_pod
from genre_ray.cluster.problem import Problem, inside, spelling
from genre_ray.cluster.selectors import WORKLOADS, labels_of
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

_DNS_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_LONGEST_NAME = {"RayCluster": 50, "RayJob": 47, "RayService": 47}
"""KubeRay makes longer names of these, which Kubernetes must still take (its constants Max...NameLength)."""


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
        yield from labels.check(document)
        yield from _check_own_selector(document, kind)
        for place, template, ray in _templates(document, kind):
            yield from check_pod(template.get("spec") or {}, inside(place, "spec"), _claims(document), ray=ray)
        if kind.startswith("Ray"):
            yield from kuberay.check(document)


def _check_name(document: Mapping[str, Any]) -> Iterator[Problem]:
    metadata = document.get("metadata")
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    if not (isinstance(name, str) and _DNS_LABEL.fullmatch(name)):
        yield Problem(
            field="metadata.name", what="is no name", value=name, remedy="use small letters, digits and -, at most 63"
        )
    elif len(name) > (longest := _LONGEST_NAME.get(str(document.get("kind")), 63)):
        yield Problem(field="metadata.name", what=f"is longer than {longest}", value=name, remedy="shorten it")


def _templates(document: Mapping[str, Any], kind: str) -> Iterator[tuple[str, Mapping[str, Any], bool]]:
    """The pod templates of a manifest: place, template, and whether Ray's nodes run in it."""
    spec = document.get("spec") or {}
    if kind in WORKLOADS:
        yield "spec.template", spec["template"], False
    if spec.get("submitterPodTemplate"):
        yield "spec.submitterPodTemplate", spec["submitterPodTemplate"], False
    for place, cluster in kuberay.clusters(document):
        yield f"{place}.headGroupSpec.template", cluster["headGroupSpec"]["template"], True
        for index, group in enumerate(cluster.get("workerGroupSpecs") or []):
            yield f"{place}.workerGroupSpecs.{index}.template", group["template"], True


def _check_own_selector(document: Mapping[str, Any], kind: str) -> Iterator[Problem]:
    if kind in WORKLOADS:
        selector = document["spec"]["selector"]
        wanted = selector.get("matchLabels") or {}
        if not wanted and not selector.get("matchExpressions"):
            yield Problem(
                field="spec.selector.matchLabels", what="is missing", remedy="write the labels of spec.template"
            )
        if not wanted.items() <= labels_of(document).items():
            yield Problem(
                field="spec.selector.matchLabels",
                what="does not select the pods of spec.template",
                value=wanted,
                remedy=f"they have the labels {labels_of(document)}",
            )


def _claims(document: Mapping[str, Any]) -> set[str]:
    claims = (document.get("spec") or {}).get("volumeClaimTemplates") or []
    return {claim["metadata"]["name"] for claim in claims if claim.get("metadata")}
