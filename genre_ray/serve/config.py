"""The YAML of `serve_configs/`, checked before anything starts: Ray's Serve accepts misspelt keys in silence.

Knows nothing about running services.
"""

import difflib
import inspect
import re
import typing
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from genre_ray.config import load_yaml, parse
from genre_ray.errors import ConfigError
from genre_ray.serve import guard
from genre_ray.serve.settings import ServeArgs, UserConfig

IMPORT_PATH = "genre_ray.serve:app"
DEPLOYMENTS = ("Figures", "Recordings")
"""Names of the deployments that the builder makes."""

_ENVIRONMENT = re.compile(r"RAY_SERVE_[A-Z0-9_]+")
_NUMBERS = (guard.MAX_BODY, guard.CLIENT_TIMEOUT, guard.MAX_IN_PROGRESS)
_OURS = ("GENRE_RAY_TOKENS", "GENRE_RAY_TOKENS_FILE", "GENRE_RAY_CACHE")
"""Environment variables of our own; those of the guard are numbers."""


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
    problems = [*unknown_keys(document), *_unknown_environment(document), *_unknown_deployments(document)]
    if problems:
        raise ConfigError("\n".join(f"{origin}: {problem}" for problem in problems))
    _validate_by_ray(document, origin)
    _validate_scaling(document, origin)
    for place, application in enumerate(document["applications"]):
        if application["import_path"] == IMPORT_PATH:
            _validate_ours(application, f"{origin}: applications.{place}")


def unknown_keys(document: dict[str, Any]) -> list[str]:
    """Keys that no field of Ray's Serve schema has, each with what is known there."""
    from ray.serve.schema import ServeDeploySchema

    return list(_unknown(document, ServeDeploySchema, ""))


def _unknown(value: Any, annotation: Any, place: str) -> Iterator[str]:
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
            yield f"{here}: there is no such key (value {inner!r:.80}); {_nearest(key, model.model_fields)}"
        elif key not in ("args", "user_config", "runtime_env"):
            yield from _unknown(inner, field.annotation, here)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_model_in(part) for part in typing.get_args(annotation))
    return next((model for model in found if model is not None), None)


def _nearest(word: str, known: Iterable[str]) -> str:
    """The nearest of the known words as a remedy, and all of them."""
    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    return (f"did you mean {near[0]}? " if near else "") + f"known there: {', '.join(names)}"


def _unknown_environment(document: dict[str, Any]) -> Iterator[str]:
    """Environment variables that neither this Ray nor we read: a misspelt one is as silent as a misspelt key."""
    from ray._private.ray_constants import WORKER_PROCESS_SETUP_HOOK_ENV_VAR
    from ray.serve._private import constants

    runtime_env = _mapping(_mapping(document.get("controller_options")).get("runtime_env"))
    read = {*_ENVIRONMENT.findall(inspect.getsource(constants)), WORKER_PROCESS_SETUP_HOOK_ENV_VAR, *_OURS, *_NUMBERS}
    for name, value in _mapping(runtime_env.get("env_vars")).items():
        near = difflib.get_close_matches(str(name), read, n=1, cutoff=0.85)
        place = f"controller_options.runtime_env.env_vars.{name}"
        if name not in read and (near or str(name).startswith(("RAY_SERVE_", "GENRE_RAY_"))):
            remedy = f"did you mean {near[0]}?" if near else "leave it out, or look it up in Serve's constants.py"
            yield f"{place}: this version reads no such variable (value {value!r:.80}); {remedy}"
        elif name in _NUMBERS and not re.fullmatch(r"[1-9]\d{0,12}", str(value)):
            yield f"{place}: not a whole number above 0 (value {value!r:.80})"


def _unknown_deployments(document: dict[str, Any]) -> Iterator[str]:
    for place, deployment in _deployments(document, IMPORT_PATH):
        if deployment.get("name") not in DEPLOYMENTS:
            yield (
                f"{place}.name: {deployment.get('name')!r} is no deployment of {IMPORT_PATH}; "
                f"known: {', '.join(DEPLOYMENTS)}"
            )


def _deployments(document: dict[str, Any], import_path: str | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each deployment with its place; what is of another form is left to Ray's schema."""
    for i, application in enumerate(_list(document.get("applications"))):
        ours = _mapping(application)
        if import_path is None or ours.get("import_path") == import_path:
            for j, deployment in enumerate(_list(ours.get("deployments"))):
                if isinstance(deployment, dict):
                    yield f"applications.{i}.deployments.{j}", deployment


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _validate_by_ray(document: dict[str, Any], origin: str) -> None:
    from ray.serve.schema import ServeDeploySchema

    try:
        ServeDeploySchema.model_validate(document)
    except ValidationError as error:
        raise ConfigError("\n".join(_said_by(error, origin))) from error
    except (
        AttributeError,
        TypeError,
        ValueError,
    ) as error:  # Ray's validators meet values of a type they do not expect
        raise ConfigError(
            f"{origin}: Ray cannot read it: {error}", remedy="compare serve_configs/hybrid.yaml"
        ) from error


def _validate_scaling(document: dict[str, Any], origin: str) -> None:
    """Ray's schema takes any mapping as autoscaling_config, and looks at the values when the service is deployed.

    It takes time-outs below nothing, too.
    """
    from ray.serve.config import AutoscalingConfig

    lines: list[str] = []
    for options in ("http_options", "grpc_options"):
        for name, value in _mapping(document.get(options)).items():
            if str(name).endswith("_timeout_s") and isinstance(value, int | float) and value < 0:
                lines.append(f"{origin}: {options}.{name}: a time-out cannot be negative (value {value!r})")
    for place, deployment in _deployments(document):
        scaling = deployment.get("autoscaling_config")
        if isinstance(scaling, dict):
            try:
                AutoscalingConfig.model_validate(scaling)
            except ValidationError as error:
                lines += _said_by(error, f"{origin}: {place}.autoscaling_config", separator=".")
    if lines:
        raise ConfigError("\n".join(lines))


def _said_by(error: ValidationError, origin: str, *, separator: str = ": ") -> list[str]:
    lines = []
    for item in error.errors():
        place = ".".join(str(part) for part in item["loc"])
        lines.append(f"{origin}{separator if place else ''}{place}: {item['msg']} (value {item.get('input')!r:.80})")
    return lines


def _validate_ours(application: dict[str, Any], origin: str) -> None:
    parse(ServeArgs, application.get("args") or {}, origin=f"{origin}.args")
    for deployment in application.get("deployments") or []:
        if "user_config" in deployment:
            parse(UserConfig, deployment["user_config"] or {}, origin=f"{origin}.{deployment['name']}.user_config")
