"""Shapes: what a nested value may hold, written as data, and the check against it. Knows nothing about Ray or a cloud.

A file of shapes is YAML, one block a type:

    Container:
      name!: string              required, text
      args: [string]             a list
      env: [EnvVar]              a list of another block
      limits: {each: quantity}   a map with free keys
      pullPolicy: Always | Never an enumeration; a single word that is no block and no basic type is one too

Basic types: string, integer, natural (0 or more), positive, port, port-or-name, number, amount (0 or more), boolean,
quantity (`500m`, `4Gi` or a number), int-or-string, int64 (a whole number, or one in quotes), any.
"""

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from genre_ray.cluster.problem import Problem, inside, spelling
from genre_ray.config import load_yaml
from genre_ray.serve.addresses import LAST_PORT

_QUANTITY = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+)?")
"""The grammar of apimachinery's resource.Quantity."""

_PORT_NAME = re.compile(r"(?=.*[a-z])(?!.*--)[a-z0-9]([a-z0-9-]{0,13}[a-z0-9])?")
"""IANA's service names (RFC 6335), the names of ports."""

_SAID = {
    "string": "text",
    "integer": "a whole number",
    "natural": "a whole number, 0 or more",
    "positive": "a whole number above 0",
    "port": "a port from 1 to 65535",
    "port-or-name": "a port from 1 to 65535 or the name of one",
    "number": "a number",
    "amount": "a number, 0 or more",
    "boolean": "true or false",
    "quantity": "a quantity such as 500m or 4Gi",
    "int-or-string": "a whole number or text",
    "int64": "a whole number",
    "any": "a value",
}
"""The basic types, as they are called in a message."""


class Shapes:
    """The blocks of some shape files, and the check of a value against one of them."""

    def __init__(self, *names: str) -> None:
        self._blocks: dict[str, dict[str, Any]] = {}
        for name in names:
            self._blocks |= load_yaml(Path(__file__).parent / "shapes" / f"{name}.yaml")

    def __contains__(self, block: object) -> bool:
        return block in self._blocks

    def check(self, block: str, value: object, place: str) -> list[Problem]:
        """What in `value` does not fit the block: unknown, missing and misplaced fields, wrong types, unknown words."""
        return list(self._block(self._blocks[block], value, place))

    def _block(self, fields: Mapping[str, Any], value: object, place: str) -> Iterator[Problem]:
        if not isinstance(value, Mapping):
            yield _wrong_type(place, value, "a mapping")
            return
        known = {name.removesuffix("!"): kind for name, kind in fields.items()}
        for name in fields:
            if name.endswith("!") and value.get(name[:-1]) is None:
                yield Problem(
                    field=inside(place, name[:-1]), what="is missing", remedy=f"give {_said(known[name[:-1]])}"
                )
        for key, part in value.items():
            if key not in known:
                yield Problem(field=inside(place, key), what="unknown field", value=part, remedy=spelling(key, known))
            elif part is not None:
                yield from self._value(known[key], part, inside(place, key))

    def _value(self, kind: Any, value: object, place: str) -> Iterator[Problem]:
        if isinstance(kind, list):
            yield from self._list(kind[0], value, place)
        elif isinstance(kind, dict):
            yield from self._map(kind["each"], value, place)
        elif kind in self._blocks:
            yield from self._block(self._blocks[kind], value, place)
        elif kind in _SAID:
            if not _fits(kind, value):
                yield _wrong_type(place, value, _said(kind))
        else:
            words = kind.split(" | ")
            if value not in words:
                yield Problem(
                    field=place, what="not one of the allowed words", value=value, remedy=spelling(value, words)
                )

    def _list(self, kind: Any, value: object, place: str) -> Iterator[Problem]:
        if not isinstance(value, list):
            yield _wrong_type(place, value, "a list")
            return
        for index, part in enumerate(value):
            yield from self._value(kind, part, inside(place, index))

    def _map(self, kind: Any, value: object, place: str) -> Iterator[Problem]:
        if not isinstance(value, Mapping):
            yield _wrong_type(place, value, "a mapping")
            return
        for key, part in value.items():
            yield from self._value(kind, part, inside(place, key))


@lru_cache
def shapes(*names: str) -> Shapes:
    """The shapes of the files of these names, read once."""
    return Shapes(*names)


def _fits(kind: str, value: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    whole = number and isinstance(value, int)
    size = float(value) if isinstance(value, int | float) and number else -1.0
    port = whole and 1 <= size <= LAST_PORT
    return {
        "any": True,
        "string": isinstance(value, str),
        "boolean": isinstance(value, bool),
        "integer": whole,
        "natural": whole and size >= 0,
        "positive": whole and size > 0,
        "port": port,
        "port-or-name": port or is_port_name(value),
        "number": number,
        "amount": number and size >= 0,
        "int-or-string": whole or isinstance(value, str),
        "int64": whole or (isinstance(value, str) and value.isdecimal()),
        "quantity": number or (isinstance(value, str) and _QUANTITY.fullmatch(value) is not None),
    }[kind]


def is_port_name(value: object) -> bool:
    """Whether a port may be called so."""
    return isinstance(value, str) and _PORT_NAME.fullmatch(value) is not None


def _wrong_type(place: str, value: object, wanted: str) -> Problem:
    quoted = " (in quotes)" if wanted == "text" and not isinstance(value, dict | list) else ""
    return Problem(field=place or "(top level)", what=f"is not {wanted}", value=value, remedy=f"give {wanted}{quoted}")


def _said(kind: Any) -> str:
    if isinstance(kind, list):
        return "a list"
    if isinstance(kind, dict):
        return "a mapping"
    return _SAID.get(kind, f"a mapping ({kind})" if " | " not in kind else f"one of {kind.replace(' | ', ', ')}")
