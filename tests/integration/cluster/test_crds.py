"""The shipped manifests against the CRDs of an operator at hand, as its API server would check them with strict fields.

The CRDs are megabytes of another project, so they are not kept here: GENRE_RAY_KUBERAY_CRDS names a folder of them, as
helm-chart/kuberay-operator/crds of KubeRay. What our own validation knows of the API is in genre_ray/cluster/shapes.
"""

import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

CLUSTER = Path(__file__).parents[3] / "cluster"
CRDS = os.environ.get("GENRE_RAY_KUBERAY_CRDS")

MINIATURE = yaml.safe_load("""
spec:
  names: {kind: Box}
  versions:
    - name: v1
      served: true
      schema:
        openAPIV3Schema:
          type: object
          properties:
            apiVersion: {type: string}
            kind: {type: string}
            metadata: {type: object}
            spec:
              type: object
              required: [size]
              properties:
                size: {type: integer, format: int32}
                port: {anyOf: [{type: integer}, {type: string}], x-kubernetes-int-or-string: true}
                labels: {type: object, additionalProperties: {type: string}}
                free: {type: object, x-kubernetes-preserve-unknown-fields: true}
""")


def problems(crd: dict[str, Any], manifest: dict[str, Any]) -> list[str]:
    """What an API server would say with fieldValidation=Strict."""
    version = manifest["apiVersion"].rpartition("/")[2]
    (schema,) = [
        entry["schema"]["openAPIV3Schema"]
        for entry in crd["spec"]["versions"]
        if entry["name"] == version and entry["served"]
    ]
    found = jsonschema.Draft7Validator(strict(schema, top=True)).iter_errors(manifest)
    return [f"{'.'.join(map(str, error.absolute_path))}: {error.message}" for error in found]


def strict(schema: Any, *, top: bool = False) -> Any:
    """The OpenAPI schema as a JSON schema that refuses unknown fields, where the API would prune them in silence."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    plain = {key: value for key, value in schema.items() if not key.startswith("x-kubernetes") and key != "properties"}
    changed = {
        key: strict(value) if key in ("items", "additionalProperties", "anyOf") else value
        for key, value in plain.items()
    }
    if "properties" in schema:
        changed["properties"] = {name: strict(part) for name, part in schema["properties"].items()}
        if top:  # the API server knows these better than the CRD says
            changed["properties"]["metadata"] = {"type": "object"}
        if "additionalProperties" not in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
            changed["additionalProperties"] = False
    if schema.get("nullable") and isinstance(schema.get("type"), str):
        changed["type"] = [schema["type"], "null"]
    return changed


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"size": 1, "port": "http", "labels": {"any": "x"}, "free": {"any": 1}}, None),
        ({"size": "1"}, "spec.size: '1' is not of type 'integer'"),
        ({"size": 1, "prot": 2}, "'prot' was unexpected"),
        ({"port": 1.5, "size": 1}, "spec.port: 1.5 is not of type 'integer', 'string'"),
        ({"labels": {"any": 1}, "size": 1}, "spec.labels.any: 1 is not of type 'string'"),
        ({}, "'size' is a required property"),
    ],
)
def test_a_schema_is_read_as_an_api_server_reads_it(spec: dict[str, Any], said: str | None) -> None:
    found = problems(
        MINIATURE, {"apiVersion": "example.org/v1", "kind": "Box", "metadata": {"name": "b"}, "spec": spec}
    )
    assert [said] == [said for line in found if said in line] if said else found == []


@pytest.mark.skipif(CRDS is None, reason="GENRE_RAY_KUBERAY_CRDS does not name a folder of KubeRay's CRDs")
@pytest.mark.parametrize("name", ["rayjob.yaml", "rayservice.yaml"])
def test_a_shipped_manifest_fits_the_crd_of_the_operator(name: str) -> None:
    manifest = yaml.safe_load((CLUSTER / "kuberay" / name).read_text(encoding="utf-8"))
    files = sorted(Path(str(CRDS)).glob("*.yaml"))
    crds = [document for file in files for document in yaml.safe_load_all(file.read_text(encoding="utf-8")) if document]
    (crd,) = [found for found in crds if found["spec"]["names"]["kind"] == manifest["kind"]]
    assert problems(crd, manifest) == []
