"""A Serve configuration: keys that Ray's own schema swallows in silence, and values that it refuses.

Knows nothing about our application.
"""

from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from ray.serve.config import AutoscalingConfig
from ray.serve.schema import RayActorOptionsSchema, ServeDeploySchema

from genre_ray.cluster.problem import Problem, inside, spelling

_LOOSE: dict[str, type[BaseModel]] = {
    "autoscaling_config": AutoscalingConfig,
    "ray_actor_options": RayActorOptionsSchema,
}
"""Fields that the schema types as free mappings although what goes in is known."""

_FREE = {"args", "user_config", "runtime_env", "env_vars", "resources", "labels"}


def check_serve_config(document: Mapping[str, Any], place: str = "") -> Iterator[Problem]:
    """Problems of a Serve configuration (what `serve deploy` takes), given as its parsed content."""
    if not document.get("applications"):
        yield Problem(field=inside(place, "applications"), what="is missing", remedy="name at least one application")
    yield from _unknown(ServeDeploySchema, document, place)
    try:
        ServeDeploySchema.model_validate(dict(document))
    except ValidationError as error:
        for item in error.errors():
            where = ".".join(str(part) for part in item["loc"])
            yield Problem(
                field=inside(place, where) if where else place or "(top level)",
                what=item["msg"].removeprefix("Value error, "),
                value=None if isinstance(item.get("input"), dict | list) else item.get("input"),
                remedy="see Ray Serve's configuration schema",
            )


def _unknown(model: type[BaseModel], value: object, place: str) -> Iterator[Problem]:
    if not isinstance(value, Mapping):
        return
    known = {field.alias or name for name, field in model.model_fields.items()}
    for key, part in value.items():
        here = inside(place, key)
        if key not in known:
            yield Problem(field=here, what="unknown key, which Serve ignores", value=part, remedy=spelling(key, known))
        elif key not in _FREE:
            yield from _below(
                model.model_fields[key].annotation if key in model.model_fields else None, key, part, here
            )


def _below(annotation: Any, key: str, value: object, place: str) -> Iterator[Problem]:
    inner = _LOOSE.get(key) or _model_in(annotation)
    if inner is None:
        return
    parts = enumerate(value) if isinstance(value, list) else [(None, value)]
    for index, part in parts:
        yield from _unknown(inner, part, place if index is None else inside(place, index))


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part))), None)
