"""The YAML of `serve_configs/`, checked before anything starts: Ray's Serve accepts misspelt keys in silence.

Knows nothing about running services.
"""

import inspect
import re
import typing
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from genre_ray.config import load_yaml, parse
from genre_ray.errors import ConfigError
from genre_ray.serve.settings import ServeArgs, UserConfig

IMPORT_PATH = "genre_ray.serve:app"
DEPLOYMENTS = ("Figures", "Recordings")
"""Names of the deployments that the builder makes."""

_ENVIRONMENT = re.compile(r"RAY_SERVE_[A-Z0-9_]+")


def validate(path: str | Path) -> dict[str, Any]:
    """The document at `path` when every key, name and value in it is real; ConfigError tells all that is not."""
    path = Path(path)
    document = load_yaml(path)
    check(document, origin=str(path))
    return document  # type: ignore[no-any-return]


def check(document: Any, *, origin: str) -> None:
    """ConfigError, each of its lines begun with `origin`, when a key, name or value of the document is not real."""
    if not isinstance(document, dict):
        raise ConfigError(f"{origin}: not a mapping", found=type(document).__name__, expected="applications: [...]")
    problems = unknown_keys(document) + _unknown_environment(document) + _unknown_deployments(document)
    if problems:
        raise ConfigError("\n".join(f"{origin}: {problem}" for problem in problems))
    _validate_by_ray(document, origin)
    for place, application in enumerate(document["applications"]):
        if application["import_path"] == IMPORT_PATH:
            _validate_ours(application, f"{origin}: applications.{place}")


def unknown_keys(document: dict[str, Any]) -> list[str]:
    """Keys that no field of Ray's Serve schema has, each with what is known there."""
    from ray.serve.schema import ServeDeploySchema

    return list(_unknown(document, ServeDeploySchema, ""))


def _unknown(value: Any, annotation: Any, place: str) -> typing.Iterator[str]:
    """Walk a document beside the schema. Where the schema takes any mapping, the model it stands for is known here."""
    if isinstance(value, list):
        for i, item in enumerate(value):
            yield from _unknown(item, annotation, f"{place}.{i}")
        return
    model = _model_in(annotation)
    if model is None or not isinstance(value, dict):
        return
    for key, inner in value.items():
        here = f"{place}.{key}".lstrip(".")
        field = model.model_fields.get(key)
        if field is None:
            yield f"{here}: there is no such key; known there: {', '.join(sorted(model.model_fields))}"
        elif key not in ("args", "user_config", "runtime_env"):
            yield from _unknown(inner, field.annotation, here)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_model_in(part) for part in typing.get_args(annotation))
    return next((model for model in found if model is not None), None)


def _unknown_environment(document: dict[str, Any]) -> list[str]:
    """Serve's environment variables that this Ray does not read: a misspelt one is as silent as a misspelt key."""
    from ray.serve._private import constants

    runtime_env = (document.get("controller_options") or {}).get("runtime_env") or {}
    read = set(_ENVIRONMENT.findall(inspect.getsource(constants)))
    return [
        f"controller_options.runtime_env.env_vars.{name}: this version of Ray reads no such variable"
        for name in runtime_env.get("env_vars") or {}
        if name.startswith("RAY_SERVE_") and name not in read
    ]


def _unknown_deployments(document: dict[str, Any]) -> list[str]:
    return [
        f"applications.{i}.deployments.{j}.name: {deployment.get('name')!r} is no deployment of {IMPORT_PATH}; "
        f"known: {', '.join(DEPLOYMENTS)}"
        for i, application in enumerate(document.get("applications") or [])
        if isinstance(application, dict) and application.get("import_path") == IMPORT_PATH
        for j, deployment in enumerate(application.get("deployments") or [])
        if deployment.get("name") not in DEPLOYMENTS
    ]


def _validate_by_ray(document: dict[str, Any], origin: str) -> None:
    from ray.serve.schema import ServeDeploySchema

    try:
        ServeDeploySchema.model_validate(document)
    except ValidationError as error:
        lines = [f"{origin}: {'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in error.errors()]
        raise ConfigError("\n".join(lines)) from error


def _validate_ours(application: dict[str, Any], origin: str) -> None:
    parse(ServeArgs, application.get("args") or {}, origin=f"{origin}.args")
    for deployment in application.get("deployments") or []:
        if "user_config" in deployment:
            parse(UserConfig, deployment["user_config"] or {}, origin=f"{origin}.{deployment['name']}.user_config")
