"""`validate`: the problems of a file for a cluster, whichever kind it is. Tells the kinds apart, knows none closely."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from genre_ray.cluster import kubernetes, launcher
from genre_ray.cluster.problem import Problem
from genre_ray.cluster.scan import scan
from genre_ray.cluster.selectors import check_selectors
from genre_ray.config import load_yaml_documents
from genre_ray.errors import ConfigError


def validate(path: Path) -> list[str]:
    """What is wrong with a file of Ray's launcher or a Kubernetes manifest; empty when nothing is.

    Each line names the file, the field, the value and the remedy. More is found than Ray itself finds: misspelt fields
    of provider and node_config, unknown machine types, missing mount sources, secrets, ports open to the world, and the
    places that only the user can fill in. Nothing is started and no cloud is asked.
    """
    try:
        documents = [document for document in load_yaml_documents(path) if document is not None]
    except ConfigError as error:
        return [str(error)]
    if not documents:
        return [f"{path}: (top level): is empty; write a cluster file or a manifest"]
    origins = [str(path) if len(documents) == 1 else f"{path} (document {i + 1})" for i in range(len(documents))]
    problems = [
        problem.text(origin)
        for origin, document in zip(origins, documents, strict=True)
        for problem in _check(document)
    ]
    if not problems:
        problems = [problem.text(origins[i]) for i, problem in check_selectors(documents)]
    return problems


def is_cluster_file(document: object) -> bool:
    """Whether a YAML document is a launcher file or a Kubernetes manifest, going by its keys."""
    return isinstance(document, Mapping) and (_is_manifest(document) or _is_launcher(document))


def _check(document: Any) -> list[Problem]:
    if not isinstance(document, Mapping):
        return [Problem(field="(top level)", what="is not a mapping", value=document, remedy="write key: value lines")]
    if _is_manifest(document):
        found = list(kubernetes.check(document))
    elif _is_launcher(document):
        found = list(launcher.check(document))
    else:
        keys = ", ".join(str(key) for key in document)
        return [
            Problem(
                field="(top level)",
                what="neither a file of Ray's launcher nor a Kubernetes manifest",
                value=keys,
                remedy="the one has cluster_name and provider, the other apiVersion and kind",
            )
        ]
    return [*scan(document), *found]


def _is_manifest(document: Mapping[str, Any]) -> bool:
    return "apiVersion" in document or "kind" in document


def _is_launcher(document: Mapping[str, Any]) -> bool:
    return "provider" in document or "cluster_name" in document or "available_node_types" in document
