"""What Ray's own launcher would say of a cluster file, field by field. Starts nothing and asks no cloud."""

import contextlib
import copy
import io
import json
import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import jsonschema
import ray.autoscaler
from ray.autoscaler._private.util import prepare_config, validate_config

from genre_ray.cluster import spot
from genre_ray.cluster.problem import Problem, inside, spelling

_LOG = re.compile(r"\x1b\[[0-9;]*m|^\d{4}-\d\d-\d\d [\d:,]+\s+[A-Z]+ \S+ -- ", re.MULTILINE)
"""Colours, and what comes before a message in Ray's log."""

_KINDS = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "null",
}


def check(document: Mapping[str, Any]) -> Iterator[Problem]:
    """Problems that keep Ray from reading the file, and those of its own schema."""
    missing = list(_missing(document))
    yield from missing
    prepared, problem = ({}, None) if missing else _prepare(document)
    schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text(encoding="utf-8"))
    if problem is not None or missing:
        if problem is not None:
            yield problem
        # Without Ray's defaults much is missing that need not be there, but a misspelt key is one all the same.
        for error in jsonschema.Draft7Validator(schema).iter_errors(dict(document)):
            if error.validator == "additionalProperties":
                yield from _explain(error)
        return
    found = list(jsonschema.Draft7Validator(schema).iter_errors(prepared))
    for error in sorted(found, key=lambda error: [str(part) for part in error.absolute_path]):
        yield from _explain(error)
    if not found:
        try:
            validate_config(prepared)
        except (ValueError, RuntimeError) as error:
            yield _refusal(document, str(error))


def _prepare(document: Mapping[str, Any]) -> tuple[dict[str, Any], Problem | None]:
    """The document with Ray's defaults filled in; what Ray prints on the way becomes the message when it gives up."""
    said = io.StringIO()
    ray_logger = logging.getLogger("ray.autoscaler._private.util")
    level = ray_logger.level
    ray_logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            prepared: dict[str, Any] = prepare_config(copy.deepcopy(dict(document)))
    except KeyError as error:
        what = "is missing: Ray has no default of it for this provider"
        return {}, Problem(field=str(error.args[0]), what=what, remedy="write it, [] or {} for none")
    except (click.ClickException, AssertionError, AttributeError, LookupError, TypeError, ValueError) as error:
        text = " ".join(_LOG.sub("", str(error) or said.getvalue()).split())
        return {}, Problem(
            field="(top level)", what=f"Ray cannot read it: {text}", remedy="compare with cluster/aws.yaml"
        )
    finally:
        ray_logger.setLevel(level)
    if spot.cloud(document["provider"]) == "aws":
        # `ray up` asks AWS for the resources of a type that names none.
        for kind in prepared.get("available_node_types", {}).values():
            if isinstance(kind, dict):
                kind.setdefault("resources", {})
    return prepared, None


def _explain(error: Any) -> Iterator[Problem]:
    place = ".".join(str(part) for part in error.absolute_path)
    if error.validator == "additionalProperties":
        known = set(error.schema.get("properties", {}))
        for key in error.instance:
            if key not in known:
                value = error.instance[key]
                yield Problem(field=inside(place, key), what="unknown key", value=value, remedy=spelling(key, known))
    elif error.validator == "required":
        for key in error.validator_value:
            if key not in error.instance:
                yield Problem(field=inside(place, key), what="is missing", remedy="Ray's launcher requires it")
    else:
        wanted = _wanted(error)
        below = error.validator in ("minimum", "exclusiveMinimum")
        yield Problem(
            field=place or "(top level)",
            what=f"is below {error.validator_value}" if below else f"is not {wanted}",
            value=error.instance,
            remedy=f"give {error.validator_value} or more" if below else f"give {wanted}",
        )


def _wanted(error: Any) -> str:
    """What a value should have been, in words."""
    if error.validator == "type":
        kinds = error.validator_value if isinstance(error.validator_value, list) else [error.validator_value]
        return " or ".join(_KINDS.get(str(kind), str(kind)) for kind in kinds)
    if error.validator == "enum":
        return f"one of {', '.join(map(str, error.validator_value))}"
    return f"what Ray takes: {error.message}"


def _missing(document: Mapping[str, Any]) -> Iterator[Problem]:
    """What Ray wants and asks for in a log line or by a KeyError."""
    provider, docker = document["provider"], document.get("docker")
    if provider["type"] == "external" and not provider.get("module"):
        yield Problem(
            field="provider.module", what="is missing", remedy=f"name your node provider's class; {spot.MODULE} for AWS"
        )
    if isinstance(docker, Mapping) and docker:
        if not docker.get("image") and not (docker.get("head_image") and docker.get("worker_image")):
            yield Problem(field="docker.image", what="is missing", remedy="write registry/name:tag")
        if not docker.get("container_name"):
            yield Problem(field="docker.container_name", what="is missing", remedy="write container_name: ray")


def _refusal(document: Mapping[str, Any], said: str) -> Problem:
    kinds = document.get("available_node_types")
    if "head_node_type" in said and isinstance(kinds, Mapping):
        name = document.get("head_node_type")
        return Problem(field="head_node_type", what="no node type", value=name, remedy=spelling(name, map(str, kinds)))
    if "max_workers" in said:
        return Problem(
            field="max_workers",
            what="is smaller than all min_workers together",
            value=document.get("max_workers"),
            remedy="raise it, or lower those",
        )
    return Problem(field="(top level)", what=f"Ray refuses it: {said}", remedy="mend the fields it names")
