"""What a client of the service sends: method, path and body of each request. Knows nothing about answers."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from genre_ray.errors import FeatureError

Audio = str | Path | bytes
"""A path of a recording, or its bytes."""

Features = Mapping[str, float] | Sequence[float] | Iterable[float]
"""The 57 features by column name (a row of a DataFrame, too), or in the order of `genre_ray.schema.FEATURE_COLUMNS`
(an array, too)."""

_JSON = "application/json"


def figure(figure: Audio, features: Features, options: Mapping[str, Any]) -> dict[str, Any]:
    """A figure and its features. FeatureError for a row that is no numbers."""
    files = {"figure": ("figure", _bytes(figure)), "features": ("features", _json(_row(features)), _JSON)}
    return {"method": "POST", "url": "/v1/predict", "files": files, "params": _given(options)}


def batch(items: Sequence[tuple[Audio, Features]]) -> dict[str, Any]:
    """Several figures, each with its features. FeatureError for a row that is no numbers."""
    rows = [
        {"figure": base64.b64encode(_bytes(figure)).decode(), "features": _row(features)} for figure, features in items
    ]
    content = _json({"items": rows})
    return {"method": "POST", "url": "/v1/predict/batch", "content": content, "headers": {"content-type": _JSON}}


def audio(audio: Audio, options: Mapping[str, Any]) -> dict[str, Any]:
    """A recording."""
    return {
        "method": "POST",
        "url": "/v1/predict/audio",
        "content": _bytes(audio),
        "params": _given(options),
        "headers": {"content-type": "application/octet-stream"},
    }


def model() -> dict[str, Any]:
    """What the model is, and what the service accepts."""
    return {"method": "GET", "url": "/v1/model"}


def _bytes(content: Audio) -> bytes:
    return content if isinstance(content, bytes) else Path(content).read_bytes()


def _row(features: Any) -> dict[str, Any] | list[Any]:
    """By name where all names are text: a Series without any is numbered."""
    if hasattr(features, "keys") and all(isinstance(name, str) for name in features.keys()):  # noqa: SIM118 - pandas
        return dict(features)
    return list(features)


def _json(document: Any) -> bytes:
    import orjson

    try:
        return orjson.dumps(document, default=float, option=orjson.OPT_SERIALIZE_NUMPY)
    except orjson.JSONEncodeError as error:
        raise FeatureError(
            "the features cannot be sent", kind="not_numeric", found=str(error.__cause__ or error), expected="numbers"
        ) from error


def _given(options: Mapping[str, Any]) -> dict[str, str]:
    """Without what is None or off; 0 is neither."""
    chosen = {name: value for name, value in options.items() if value is not None and value is not False}
    return {name: "true" if value is True else str(value) for name, value in chosen.items()}
