"""Request bytes to a Track and options: multipart, JSON with base64, or the raw file; what it is, is sniffed.

Knows nothing about Ray, servers, or models.
"""

import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import parse_qsl

from pydantic import Field, ValidationError

from genre_ray.config import Config
from genre_ray.errors import FigureError
from genre_ray.schema import Track
from genre_ray.serve import multipart, sniffing
from genre_ray.serve.feature_rows import features_from_json, parse_json
from genre_ray.serve.problems import Refusal
from genre_ray.serve.settings import Limits

Kind = Literal["figure", "audio", "any"]
"""What a path accepts: figure and features, audio, or (for tests of parity) whatever the body holds."""

_OPTION_NAMES = frozenset({"top_k", "threshold", "explain", "over_time", "clip_s"})
_FILE_PARTS: dict[str, str] = {"figure": "figure", "image": "figure", "audio": "audio", "file": "file"}
_TEXT_LIMIT = 64 * 1024
_MAX_QUERY_FIELDS = 32


class Options(Config):
    """What a client may ask for beside the answer itself."""

    top_k: int | None = Field(None, ge=1, le=1000)
    """Only so many of the best labels in `predictions`."""

    threshold: float | None = Field(None, ge=0.0, le=1.0)
    """Only labels with at least this probability in `predictions`."""

    explain: bool = False
    """What in the spectrogram spoke for the answer (audio: many more forward passes)."""

    over_time: bool = False
    """The genres' course through the recording (audio only)."""

    clip_s: float | None = Field(None, ge=1.0, le=120.0)
    """Window in seconds, instead of the model's own (audio only)."""


@dataclass(frozen=True, slots=True)
class Inquiry:
    """A decoded request: the track, and what is asked about it."""

    track: Track
    options: Options


def inquiry_from_request(
    body: bytes, content_type: str, *, kind: Kind = "any", query: str = "", limits: Limits | None = None, name: str = ""
) -> Inquiry:
    """Decode one request. Refusal or TrackError says what was found and what is accepted."""
    limits = limits or Limits()
    media = content_type.partition(";")[0].strip().lower()
    wanted: dict[str, Any] = _from_query(query) if query else {}
    parts: dict[str, Any]
    if media == "multipart/form-data":
        parts = _from_multipart(body, content_type, limits)
    elif media == "application/json" or (media.endswith("+json") and media.startswith("application/")):
        parts = _from_json(body)
    else:
        parts = {_raw_part(body, media, kind): body}
    wanted |= {key: parts.pop(key) for key in list(parts) if key in _OPTION_NAMES}
    return Inquiry(_track(parts, kind, limits, name or "request"), options_from(wanted))


def track_from_request(body: bytes, content_type: str, *, name: str = "request", limits: Limits | None = None) -> Track:
    """The Track of a request body: the door by which a track comes in over HTTP."""
    return inquiry_from_request(body, content_type, limits=limits, name=name).track


def options_from(values: Mapping[str, Any]) -> Options:
    """Options from a query, a form or JSON; Refusal 422 names field, value and range."""
    known = {name: value for name, value in values.items() if name in _OPTION_NAMES and value not in ("", None)}
    if not known:
        return Options()
    try:
        return Options.model_validate(known)
    except ValidationError as error:
        first = error.errors()[0]
        raise Refusal(
            422,
            "invalid",
            f"the option {'.'.join(str(part) for part in first['loc'])} cannot be used",
            found=repr(first.get("input"))[:80],
            expected=first["msg"],
        ) from error


def items_from_batch(body: bytes, limits: Limits) -> tuple[list[Inquiry | Exception], list[str]]:
    """The items of a batch body with their ids; an item that cannot be decoded is its error, in its place."""
    document = parse_json(body)
    rows = document.get("items") if isinstance(document, dict) else document
    if not isinstance(rows, list) or not rows:
        raise Refusal(
            422, "invalid", "the batch has no items", expected='{"items": [{"id": "", "figure": "", "features": {}}]}'
        )
    if len(rows) > limits.max_batch_items:
        raise Refusal(
            413,
            "too-large",
            "the batch has too many items",
            found=str(len(rows)),
            expected=f"at most {limits.max_batch_items}",
        )
    ids = [_id_of(row, index) for index, row in enumerate(rows)]
    return [_item(row, name, limits) for row, name in zip(rows, ids, strict=True)], ids


def _id_of(row: Any, index: int) -> str:
    given = row.get("id") if isinstance(row, dict) else None
    return given[:128] if isinstance(given, str) and given else str(index)


def _item(row: Any, name: str, limits: Limits) -> Inquiry | Exception:
    try:
        if not isinstance(row, dict):
            raise Refusal(422, "invalid", "an item of the batch is not an object", found=type(row).__name__)
        parts = {key: value for key, value in row.items() if key != "id"}
        wanted = {key: parts.pop(key) for key in list(parts) if key in _OPTION_NAMES}
        return Inquiry(_track(_decoded(parts), "figure", limits, name), options_from(wanted))
    except Exception as error:  # one bad item never fails the others: the error is that item's answer
        return error


def _from_query(query: str) -> dict[str, str]:
    try:
        return dict(parse_qsl(query, keep_blank_values=True, max_num_fields=_MAX_QUERY_FIELDS))
    except ValueError as error:
        raise Refusal(
            400,
            "malformed",
            "the query has too many fields",
            found=f"{1 + query.count('&')} fields",
            expected=f"at most {_MAX_QUERY_FIELDS}, of which {', '.join(sorted(_OPTION_NAMES))} have a meaning",
        ) from error


def _from_multipart(body: bytes, content_type: str, limits: Limits) -> dict[str, Any]:
    parts: dict[str, Any] = {}
    for name, part in multipart.parse(body, content_type, max_parts=limits.max_parts).items():
        if name in _FILE_PARTS:
            parts[_FILE_PARTS[name]] = part.content
        elif len(part.content) > _TEXT_LIMIT:
            raise Refusal(413, "too-large", f"the field {name!r} is too long", expected=f"at most {_TEXT_LIMIT} bytes")
        elif name == "features":
            parts[name] = parse_json(part.content)
        else:
            parts[name] = part.content.decode("utf-8", "replace")
    return parts


def _from_json(body: bytes) -> dict[str, Any]:
    document = parse_json(body)
    if not isinstance(document, dict):
        raise Refusal(
            422, "invalid", "the JSON document is not an object", found=type(document).__name__, expected="an object"
        )
    parameters = document.pop("parameters", None)  # Hugging Face's clients: {"inputs": base64, "parameters": {...}}
    if isinstance(parameters, dict):
        document |= parameters
    if "inputs" in document:
        document["audio"] = document.pop("inputs")
    return _decoded(document)


def _decoded(document: dict[str, Any]) -> dict[str, Any]:
    return {
        _FILE_PARTS.get(key, key): _from_base64(value, key) if key in _FILE_PARTS and value is not None else value
        for key, value in document.items()
    }


def _from_base64(value: Any, field: str) -> bytes:
    if not isinstance(value, str):
        raise Refusal(
            422, "invalid", f"{field} is not a string", found=type(value).__name__, expected="the file in base64"
        )
    text = value.partition(",")[2] if value.startswith("data:") else value
    try:
        return binascii.a2b_base64(text.encode("ascii"), strict_mode=True)
    except (ValueError, UnicodeEncodeError) as error:
        raise Refusal(
            422, "invalid", f"{field} is not base64", found=str(error)[:80], expected="the file in base64 (RFC 4648)"
        ) from error


def _raw_part(body: bytes, media: str, kind: Kind) -> str:
    """Which file a raw body is: by its first bytes; its declared type only words the refusal."""
    if kind != "audio" and sniffing.image_header(body) is not None:
        return "figure"
    if kind != "figure" and sniffing.audio_format(body) is not None:
        return "audio"
    expected = {
        "figure": "multipart/form-data or application/json",
        "audio": f"{', '.join(sniffing.AUDIO_FORMATS)} as the raw body, multipart/form-data or application/json",
        "any": "multipart/form-data, application/json, or a raw file",
    }[kind]
    status, slug = (415, "unsupported-media") if body else (400, "malformed")
    found = f"{media or 'no content type'}, beginning with {body[:8].hex()}" if body else "an empty body"
    raise Refusal(status, slug, "the body is of no kind that is accepted here", found=found, expected=expected)


def _track(parts: dict[str, Any], kind: Kind, limits: Limits, name: str) -> Track:
    if parts.get("file") is not None:
        content = parts.pop("file")
        parts["figure" if sniffing.image_header(content) else "audio"] = content
    unknown = sorted(set(parts) - {"figure", "audio", "features"})
    accepted = {"figure": "figure, features", "audio": "audio", "any": "figure, features, audio"}[kind]
    if unknown:
        raise Refusal(
            422,
            "invalid",
            "a field is not known here",
            found=", ".join(unknown[:5])[:120],
            expected=f"{accepted}, and the options {', '.join(sorted(_OPTION_NAMES))}",
        )
    audio, figure, row = parts.get("audio"), parts.get("figure"), parts.get("features")
    if kind == "audio":
        figure = row = None
    elif kind == "figure":
        audio = None
    if audio is None and figure is None and row is None:
        raise Refusal(422, "invalid", "the request holds nothing to classify", expected=accepted)
    return Track(
        id=name,
        audio=None if audio is None else check_audio(audio, limits),
        figure=None if figure is None else check_figure(figure, limits),
        features=None if row is None else features_from_json(row),
    )


def check_figure(content: bytes, limits: Limits) -> bytes:
    """The bytes of a PNG or JPEG whose header states at most `max_pixels`; nothing is decompressed before that."""
    header = sniffing.image_header(content)
    if header is None:
        raise FigureError(
            "the figure is not an image that is accepted",
            kind="unknown_format",
            found=f"{len(content)} bytes beginning with {content[:8].hex()}" if content else "an empty file",
            expected="PNG or JPEG",
        )
    if header.pixels > limits.max_pixels or header.pixels == 0:
        raise FigureError(
            "the figure has too many pixels" if header.pixels else "the figure has no pixels",
            kind="too_many_pixels" if header.pixels else "empty",
            found=f"{header.width} x {header.height} in a {header.format} header",
            expected=f"at most {limits.max_pixels} pixels; a GTZAN figure has 432 x 288",
        )
    dear = sniffing.dear_to_decode(content)
    if dear is not None:
        raise FigureError(
            "the figure would take too long to decode",
            kind="limit",
            found=dear,
            expected=f"at most {sniffing.MAX_BESIDE} bytes beside the pixels, {sniffing.MAX_PIECES} chunks of a PNG, "
            f"{sniffing.MAX_SCANS} scans of a JPEG",
            remedy="save the figure again, without notes and profiles",
        )
    return content


def check_audio(content: bytes, limits: Limits) -> bytes:
    """The bytes of an audio file of a known kind and an accepted size."""
    if len(content) > limits.max_audio_bytes:
        raise Refusal(
            413,
            "too-large",
            "the audio file is too large",
            found=f"{len(content)} bytes",
            expected=f"at most {limits.max_audio_bytes} bytes",
        )
    if sniffing.audio_format(content) is None:
        raise Refusal(
            415 if content else 400,
            "unsupported-media" if content else "malformed",
            "the file is not audio that is accepted",
            found=f"{len(content)} bytes beginning with {content[:8].hex()}" if content else "an empty file",
            expected=", ".join(sniffing.AUDIO_FORMATS),
        )
    return content
