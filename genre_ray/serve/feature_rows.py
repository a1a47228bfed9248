"""JSON to a row of 57 features, checked value by value. Knows nothing about requests or scaling."""

import math
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from genre_ray.errors import FeatureError
from genre_ray.schema import FEATURE_COLUMNS
from genre_ray.serve.problems import Refusal

_NOT_FEATURES = frozenset({"filename", "length", "label"})
"""The columns of GTZAN's CSV that are no features; a row pasted whole is accepted without them."""

_LARGEST = 1e15

_MOST_CONTAINERS = 10_000
_MOST_COMMAS = 100_000
"""A whole batch has some hundred objects and some thousand commas; base64 has neither brackets nor commas."""

_SMALL = 256 * 1024
"""Bytes of JSON that are parsed in milliseconds and a few megabytes, whatever they hold."""


def parse_json(content: bytes) -> Any:
    """The value of a JSON text; Refusal 400 for what is none, NaN included, 413 for one of very many pieces.

    31 MB of empty lists take 940 MB and seconds, so pieces are counted before any is made.
    """
    if len(content) > _SMALL:
        _require_few_pieces(content)
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise Refusal(
            400, "malformed", "not valid JSON", found=str(error)[:120], expected="RFC 8259; NaN is no JSON"
        ) from error


def _require_few_pieces(content: bytes) -> None:
    letters = np.frombuffer(content, dtype=np.uint8)
    containers = sum(int(np.count_nonzero(letters == ord(bracket))) for bracket in "[{")
    commas = int(np.count_nonzero(letters == ord(",")))
    if containers > _MOST_CONTAINERS or commas > _MOST_COMMAS:
        raise Refusal(
            413,
            "too-large",
            "the JSON document has too many pieces",
            found=f"{containers} brackets and {commas} commas",
            expected=f"at most {_MOST_CONTAINERS} brackets and {_MOST_COMMAS} commas",
        )


def shown(value: Any) -> str:
    """A value that a client sent, in words: a container by its type alone, since it may be deep."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    return repr(value[:40] if isinstance(value, str) else value)[:80]


def features_from_json(row: Any) -> NDArray[np.float64]:
    """57 finite numbers, float64, from an object by column name or an array in the order of FEATURE_COLUMNS."""
    if isinstance(row, str):  # a form field that a client sent twice encoded
        row = parse_json(row.encode())
    if isinstance(row, dict):
        return _features_by_name(row)
    if isinstance(row, list):
        if len(row) != len(FEATURE_COLUMNS):
            raise _bad_features("wrong_count", f"{len(row)} numbers", f"{len(FEATURE_COLUMNS)} numbers")
        return _numbers(row)
    raise _bad_features("not_a_row", type(row).__name__, "an object by column name, or an array of 57 numbers")


def _features_by_name(row: dict[str, Any]) -> NDArray[np.float64]:
    missing = [name for name in FEATURE_COLUMNS if name not in row]
    if missing:
        shown = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        raise _bad_features("missing", f"no value for {shown}", "all 57 columns of features_30_sec.csv")
    unknown = sorted(set(row) - set(FEATURE_COLUMNS) - _NOT_FEATURES)
    if unknown:
        raise _bad_features("unknown", ", ".join(unknown[:3])[:120], "only the 57 columns of features_30_sec.csv")
    return _numbers([row[name] for name in FEATURE_COLUMNS])


def _numbers(values: list[Any]) -> NDArray[np.float64]:
    if set(map(type, values)) <= {float}:  # a row as it should be, in a tenth of the time
        row = np.array(values, dtype=np.float64)
        if (np.abs(row) <= _LARGEST).all():
            return row
    for name, value in zip(FEATURE_COLUMNS, values, strict=True):
        if type(value) not in (int, float):
            raise _bad_features("not_numeric", f"{name}: {shown(value)}", "numbers")
        if not math.isfinite(value) or abs(value) > _LARGEST:
            raise _bad_features("not_finite", f"{name}: {value!r:.40}", "finite numbers of a size that audio can have")
    return np.array(values, dtype=np.float64)


def _bad_features(kind: str, found: str, expected: str) -> FeatureError:
    return FeatureError("the features cannot be used", kind=kind, found=found, expected=expected)
