"""From YAML and plain data to validated settings, with errors that name origin, field, value and remedy.

Knows nothing about which settings there are.
"""

import math
import re
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from genre_ray.errors import ConfigError

C = TypeVar("C", bound=BaseModel)


class Config(BaseModel):
    """A frozen model that refuses unknown keys and documents each field by the string under it."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _numbers_are_no_switches(cls, data: Any) -> Any:
        """Pydantic would take true for 1."""
        for name, value in data.items() if isinstance(data, dict) else ():
            if isinstance(value, bool) and name in cls.model_fields:
                kinds = _parts_of(cls.model_fields[name].annotation)
                if bool not in kinds and {int, float} & kinds:
                    raise ValueError(f"{name} is a number, not {'true' if value else 'false'}")
        return data


def parse(kind: type[C], data: Any, *, origin: str) -> C:
    """`data` as a `kind`; ConfigError with `origin`, field, value and what is allowed otherwise."""
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise ConfigError(_explain(error, origin), remedy=_remedy(error, kind)) from error


def load_yaml(path: Path) -> Any:
    """The content of a YAML file; ConfigError names the file and line of a syntax error or a duplicate key."""
    documents = load_yaml_documents(path)
    if len(documents) > 1:
        raise ConfigError(f"{path}: holds {len(documents)} YAML documents", expected="one", remedy="split it at ---")
    return documents[0] if documents else None


def load_yaml_documents(path: Path) -> list[Any]:
    """The documents of a YAML file, which `---` separates; ConfigError as for `load_yaml`."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path}: cannot be read", found=str(error), remedy="give the path of a YAML file in UTF-8"
        ) from error
    return yaml_documents(text, origin=str(path))


def yaml_documents(text: str, *, origin: str) -> list[Any]:
    """The documents in a text, as `load_yaml_documents` reads them from a file."""
    try:
        # a SafeLoader that refuses duplicates
        documents = list(yaml.load_all(text, Loader=_UniqueKeyLoader))
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(
            f"{origin}: not valid YAML", found=" ".join(str(error).split()), remedy="mend it at that line"
        ) from error
    if _size(documents, {}) > _LARGEST:
        raise ConfigError(
            f"{origin}: too large",
            expected=f"at most {_LARGEST} values",
            remedy="an alias (*name) must not hold itself",
        )
    return documents


_LARGEST = 100_000
"""Values in a file, aliases followed: what every check here walks through."""


def _size(value: Any, known: dict[int, float]) -> float:
    """How many values there are, infinitely many where an alias holds itself; each object is counted once."""
    if not isinstance(value, dict | list):
        return 1
    if id(value) not in known:
        known[id(value)] = math.inf  # until it is counted: whoever meets it before then is inside it
        parts = value.values() if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_size(part, known) for part in parts)
    return known[id(value)]


class _UniqueKeyLoader(yaml.SafeLoader):
    """PyYAML keeps the last of two equal keys in silence; this one says so."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, dict | list):
                raise yaml.constructor.ConstructorError(None, None, "a key must be a word", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is given twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def _explain(error: ValidationError, origin: str) -> str:
    lines = []
    for item in error.errors():
        own = item["type"] == "value_error"  # of the whole file: it names the place itself
        place = ".".join(str(part) for part in item["loc"]) or ("" if own else "(top level)")
        value = item.get("input")
        shown = "" if isinstance(value, dict | list) else f" (value {value!r})"
        lines.append(f"{origin}: {place}{': ' if place else ''}{item['msg'].removeprefix('Value error, ')}{shown}")
    return "\n".join(lines)


def _remedy(error: ValidationError, kind: type[BaseModel]) -> str | None:
    for item in error.errors():
        if item["type"] == "extra_forbidden":
            known = _fields_at(kind, item["loc"][:-1])
            if known:
                return f"known keys there: {', '.join(known)}"
        if item["type"] in ("float_parsing", "int_parsing") and _EXPONENT.fullmatch(str(item["input"])):
            return f"PyYAML reads {item['input']} as text: write {_spelt(item['input'], item['type'])}"
        cause = getattr(item.get("ctx", {}).get("error"), "__cause__", None)
        if isinstance(cause, ConfigError) and cause.remedy:  # of a part that was checked by itself
            return cause.remedy
    return None


_EXPONENT = re.compile(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+")


def _spelt(number: str, kind: str) -> str:
    """As YAML takes it for a number."""
    value = float(number)
    return f"{value:.0f}" if kind == "int_parsing" and value.is_integer() else repr(value)


def _fields_at(kind: Any, place: tuple[int | str, ...]) -> list[str]:
    """Field names of the model that sits at `place`, found by following annotations; empty when it is not a model."""
    models = _models_in(kind)
    for part in place:
        inner = [_models_in(m.model_fields[part].annotation) for m in models if part in m.model_fields]
        tagged = [m for m in models if "kind" in m.model_fields and m.model_fields["kind"].default == part]
        models = [m for group in inner for m in group] or tagged or models
    return sorted({field.alias or name for model in models for name, field in model.model_fields.items()})


def _parts_of(annotation: Any) -> set[Any]:
    """The types that an annotation offers: `int | None` offers both."""
    inner = getattr(annotation, "__args__", ())
    return {part for each in inner for part in _parts_of(each)} if inner else {annotation}


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in getattr(annotation, "__args__", ()) for model in _models_in(part)]
