"""The YAML of `serve_configs/`, checked before anything starts: Ray's Serve accepts misspelt keys in silence.

Knows nothing about running services.
"""

import difflib
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from genre_ray.config import load_yaml, parse
from genre_ray.errors import ConfigError
from genre_ray.serve import guard
from genre_ray.serve.addresses import host_fault, import_fault, nearest, port_fault, route_fault, uri_fault, with_value
from genre_ray.serve.environment import as_mapping, check_runtime_env
from genre_ray.serve.settings import Limits, ServeArgs, UserConfig

IMPORT_PATH = "genre_ray.serve:app"
DEPLOYMENTS = ("Figures", "Recordings")
"""Names of the deployments that the builder makes."""

_SERVICER = "genre_ray.serve.grpc_api.servicing:add_to_server"

_LEAST_BYTES = 4 * 1024**2
"""Less memory than this no process starts in: the unit was forgotten."""


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
    problems = [*unknown_keys(document), *_foreign(document), *_unknown_environment(document)]
    problems += _unknown_deployments(document)
    if problems:
        raise ConfigError("\n".join(f"{origin}: {problem}" for problem in problems))
    _validate_by_ray(document, origin)
    lines = [*_doors(document), *_scaling(document), *_actors(document), *_limits(document)]
    if lines:
        raise ConfigError("\n".join(f"{origin}: {line}" for line in lines))
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
            yield f"{here}: there is no such key (value {inner!r:.80}); {nearest(key, model.model_fields)}"
        elif key not in ("args", "user_config", "runtime_env"):
            yield from _misplaced(inner, field.annotation, here)
            yield from _unknown(inner, field.annotation, here)


def _misplaced(value: Any, annotation: Any, place: str) -> Iterator[str]:
    """Pydantic reads `"8000"` as 8000, `true` as 1 and `"no"` as false; none of them is what was meant."""
    kinds = set(_kinds_in(annotation))
    if isinstance(value, bool):
        if kinds & {int, float} and bool not in kinds:
            yield f"{place}: true or false where a number belongs (value {value!r}); write a number"
    elif isinstance(value, str) and kinds & {int, float, bool} and kinds <= {int, float, bool, type(None)}:
        wanted = "true or false" if bool in kinds else "a number"
        yield f"{place}: text where {wanted} belongs (value {value!r:.80}); write it without quotes"


def _kinds_in(annotation: Any) -> Iterator[Any]:
    parts = typing.get_args(annotation)
    if not parts:
        yield annotation
    for part in parts:
        yield from _kinds_in(part)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_model_in(part) for part in typing.get_args(annotation))
    return next((model for model in found if model is not None), None)


def _foreign(document: dict[str, Any]) -> Iterator[str]:
    """Applications that are nearly ours: whatever is below a misspelt import path would not be looked at."""
    paths = [as_mapping(entry).get("import_path") for entry in _list(document.get("applications"))]
    for place, path in enumerate(paths):
        ratio = difflib.SequenceMatcher(None, str(path), IMPORT_PATH).ratio()
        if path != IMPORT_PATH and (ratio > 0.75 or str(path).startswith("genre_ray")):
            yield (
                f"applications.{place}.import_path: no application of ours (value {path!r:.80}); "
                f"did you mean {IMPORT_PATH}?"
            )
    if paths and all(isinstance(path, str) for path in paths) and IMPORT_PATH not in paths:
        yield f"applications: no application here is ours (value {paths!r:.80}); write import_path: {IMPORT_PATH}"


def _unknown_environment(document: dict[str, Any]) -> Iterator[str]:
    """Runtime environments and their variables, wherever one may stand."""
    owners = [("controller_options", document.get("controller_options"))]
    owners += [(f"applications.{i}", entry) for i, entry in enumerate(_list(document.get("applications")))]
    owners += [
        (f"{place}.ray_actor_options", entry.get("ray_actor_options")) for place, entry in _deployments(document)
    ]
    for place, owner in owners:
        if "runtime_env" in as_mapping(owner):
            yield from check_runtime_env(as_mapping(owner)["runtime_env"], f"{place}.runtime_env")


def _unknown_deployments(document: dict[str, Any]) -> Iterator[str]:
    for place, deployment in _deployments(document, IMPORT_PATH):
        if deployment.get("name") not in DEPLOYMENTS:
            yield (
                f"{place}.name: {deployment.get('name')!r} is no deployment of {IMPORT_PATH}; "
                f"known: {', '.join(DEPLOYMENTS)}"
            )
    for index, application in enumerate(_list(document.get("applications"))):
        names = [as_mapping(entry).get("name") for entry in _list(as_mapping(application).get("deployments"))]
        for name in sorted({str(name) for name in names if names.count(name) > 1}):
            yield f"applications.{index}.deployments: {name} is given twice; give each deployment once"


def _deployments(document: dict[str, Any], import_path: str | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each deployment with its place; what is of another form is left to Ray's schema."""
    for i, application in enumerate(_list(document.get("applications"))):
        ours = as_mapping(application)
        if import_path is None or ours.get("import_path") == import_path:
            for j, deployment in enumerate(_list(ours.get("deployments"))):
                if isinstance(deployment, dict):
                    yield f"applications.{i}.deployments.{j}", deployment


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


def _doors(document: dict[str, Any]) -> Iterator[str]:
    """Addresses, ports, paths and time-outs that cannot be, and services that nobody would reach."""
    for options in ("http_options", "grpc_options"):
        given = as_mapping(document.get(options))
        for name, value in given.items():
            if str(name).endswith("_timeout_s") and isinstance(value, int | float) and value < 0:
                yield f"{options}.{name}: a time-out cannot be negative (value {value!r}); write null for none"
            elif name == "request_timeout_s" and value == 0:
                yield f"{options}.{name}: no time at all (value {value!r}); write null for no limit"
            fault = {"host": host_fault, "port": port_fault, "root_path": route_fault}.get(name, uri_fault)(value)
            if fault and value != "":
                yield f"{options}.{name}: {with_value(fault, value)}"
    yield from _grpc(document)
    for place, application in enumerate(document["applications"]):
        route = application.get("route_prefix", "/")
        if route is not None and (fault := route_fault(route)):
            yield f"applications.{place}.route_prefix: {with_value(fault, route)}"
        elif route is None and application["import_path"] == IMPORT_PATH and "grpc_options" not in document:
            yield f"applications.{place}.route_prefix: nothing would be reached (value None); write /"
    if document.get("proxy_location") == "Disabled":
        yield "proxy_location: nothing would listen (value 'Disabled'); write HeadOnly or EveryNode"


def _grpc(document: dict[str, Any]) -> Iterator[str]:
    options = as_mapping(document.get("grpc_options"))
    port = as_mapping(document.get("http_options")).get("port", 8000)
    if options and options.get("port", 9000) == port:
        yield f"grpc_options.port: is that of http_options (value {port!r}); give each its own"
    functions = options.get("grpc_servicer_functions") or []
    if options and not functions:
        yield f"grpc_options.grpc_servicer_functions: nothing would answer (value {functions!r}); name {_SERVICER}"
    for place, function in enumerate(functions):
        if fault := import_fault(function):
            yield f"grpc_options.grpc_servicer_functions.{place}: {with_value(fault, function)}"


def _scaling(document: dict[str, Any]) -> Iterator[str]:
    """Ray's schema takes any mapping as autoscaling_config, and looks at the values when the service is deployed."""
    from ray.serve.config import AutoscalingConfig

    for place, deployment in _deployments(document):
        scaling = deployment.get("autoscaling_config")
        if isinstance(scaling, dict):
            try:
                AutoscalingConfig.model_validate(scaling)
            except ValidationError as error:
                yield from _said_by(error, f"{place}.autoscaling_config", separator=".")


def _actors(document: dict[str, Any]) -> Iterator[str]:
    """What each replica asks for: Ray looks at it when the service is deployed."""
    from ray._common.ray_option_utils import validate_actor_options
    from ray.util.placement_group import VALID_PLACEMENT_GROUP_STRATEGIES as STRATEGIES

    for place, deployment in _deployments(document):
        strategy = deployment.get("placement_group_strategy", "PACK")
        if strategy not in STRATEGIES:
            yield f"{place}.placement_group_strategy: no strategy (value {strategy!r}); {nearest(strategy, STRATEGIES)}"
        options = as_mapping(deployment.get("ray_actor_options"))
        here = f"{place}.ray_actor_options"
        gpus, memory = options.get("num_gpus") or 0, options.get("memory")
        if gpus > 1 and gpus != int(gpus):
            yield f"{here}.num_gpus: above 1 only whole GPUs can be had (value {gpus!r}); write a whole number"
        if memory is not None and 0 <= memory < _LEAST_BYTES:
            yield f"{here}.memory: a few bytes (value {memory!r}); count in bytes"
        try:
            validate_actor_options({k: v for k, v in options.items() if k != "runtime_env"}, in_options=False)
        except (TypeError, ValueError) as error:
            yield f"{here}: {error} (value {options!r:.80}); compare serve_configs/hybrid.yaml"


def _limits(document: dict[str, Any]) -> Iterator[str]:
    """The edge and the replicas go by the same number of requests, or one of them refuses what the other takes."""
    runtime_env = as_mapping(as_mapping(document.get("controller_options")).get("runtime_env"))
    edge = as_mapping(runtime_env.get("env_vars")).get(guard.MAX_IN_PROGRESS)
    for place, application in enumerate(document["applications"]):
        limits = as_mapping(as_mapping(application.get("args")).get("limits"))
        most = limits.get("max_in_progress", Limits().max_in_progress)
        if application["import_path"] == IMPORT_PATH and edge is not None and str(most) != edge:
            yield (
                f"controller_options.runtime_env.env_vars.{guard.MAX_IN_PROGRESS}: is not limits.max_in_progress of "
                f"applications.{place}, {most} (value {edge!r}); make them equal"
            )


def _said_by(error: ValidationError, origin: str, *, separator: str = ": ") -> list[str]:
    lines = []
    for item in error.errors():
        place = ".".join(str(part) for part in item["loc"])
        lines.append(f"{origin}{separator if place else ''}{place}: {item['msg']} (value {item.get('input')!r:.80})")
    return lines


def _validate_ours(application: dict[str, Any], origin: str) -> None:
    args = parse(ServeArgs, application.get("args") or {}, origin=f"{origin}.args")
    if fault := uri_fault(args.checkpoint):
        raise ConfigError(f"{origin}.args.checkpoint: {with_value(fault, args.checkpoint)}")
    for deployment in application.get("deployments") or []:
        if "user_config" in deployment:
            parse(UserConfig, deployment["user_config"] or {}, origin=f"{origin}.{deployment['name']}.user_config")
