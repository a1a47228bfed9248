"""Request bytes to a Track and what is asked about it; each field and option that is not known is named.

Knows nothing about Ray, servers, or models.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeGuard
from urllib.parse import parse_qsl

from pydantic import Field, ValidationError, field_validator
from pydantic_core import PydanticCustomError

from genre_ray.config import Config
from genre_ray.errors import FigureError
from genre_ray.schema import Track
from genre_ray.serve import sniffing
from genre_ray.serve.feature_rows import features_from_json, parse_json, shown
from genre_ray.serve.parts import Kind, decoded, is_json, media_of, parts_of
from genre_ray.serve.problems import Refusal
from genre_ray.serve.settings import Limits

FIGURE_OPTIONS = ("top_k", "threshold", "explain")
AUDIO_OPTIONS = ("top_k", "threshold", "explain", "over_time", "clip_s")
ITEM_OPTIONS = ("top_k", "threshold")
LIST_OPTIONS = ("top_k", "threshold", "clip_s", "function_to_apply")
"""What may be asked for: about a figure, a recording, an item of a batch, and where Hugging Face's clients ask."""

_OPTION_NAMES = frozenset({*AUDIO_OPTIONS, *LIST_OPTIONS})
_HOLDS: dict[Kind, tuple[str, ...]] = {
    "figure": ("figure", "features"),
    "audio": ("audio",),
    "any": ("figure", "features", "audio"),
}
_LONGEST_ID = 128
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

    function_to_apply: Literal["softmax"] | None = None
    """Hugging Face's name for how scores are made; the one that is made here."""

    @field_validator("top_k", "threshold", "clip_s", mode="before")
    @classmethod
    def _no_boolean(cls, value: Any) -> Any:
        if isinstance(value, bool):
            raise PydanticCustomError("number", "a number, not true or false")
        return value


@dataclass(frozen=True, slots=True)
class Inquiry:
    """A decoded request: the track, and what is asked about it."""

    track: Track
    options: Options


def inquiry_from_request(
    body: bytes,
    content_type: str,
    *,
    kind: Kind = "any",
    accepted: Collection[str] = AUDIO_OPTIONS,
    query: str = "",
    limits: Limits | None = None,
    name: str = "",
) -> Inquiry:
    """Decode one request, `accepted` being its options. Refusal or TrackError says what was found and is accepted."""
    limits = limits or Limits()
    wanted: dict[str, Any] = _from_query(query) if query else {}
    parts = parts_of(body, content_type, kind=kind, max_parts=limits.max_parts)
    wanted |= {key: parts.pop(key) for key in list(parts) if key in _OPTION_NAMES}
    options = options_from(wanted, accepted)
    return Inquiry(_track(parts, kind, limits, name or "request"), options)


def track_from_request(body: bytes, content_type: str, *, name: str = "request", limits: Limits | None = None) -> Track:
    """The Track of a request body: the door by which a track comes in over HTTP."""
    return inquiry_from_request(body, content_type, limits=limits, name=name).track


def options_from(values: Mapping[str, Any], accepted: Collection[str] = AUDIO_OPTIONS) -> Options:
    """Options from a query, a form or JSON; Refusal 422 names field, value and range, or what is accepted."""
    unknown = sorted(name for name, value in values.items() if name not in accepted and value is not None)
    if unknown:
        raise Refusal(
            422,
            "invalid",
            "an option is not known here",
            found=", ".join(unknown[:5])[:120],
            expected=", ".join(accepted) or "no options: those of an item stand beside its figure",
        )
    given = {name: value for name, value in values.items() if value not in ("", None)}
    if not given:
        return Options()
    try:
        return Options.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        raise Refusal(
            422,
            "invalid",
            f"the option {'.'.join(str(part) for part in first['loc'])} cannot be used",
            found=shown(first.get("input")),
            expected=first["msg"],
        ) from error


def batch_from_request(
    body: bytes, content_type: str, *, query: str, limits: Limits
) -> tuple[list[Inquiry | Exception], list[str]]:
    """As `items_from_batch`; Refusal 415 for what is not said to be JSON, 422 for a query."""
    media = media_of(content_type)
    if not is_json(media):
        found = media or "no content type"
        raise Refusal(415, "unsupported-media", "a batch is JSON", found=found[:80], expected="application/json")
    if query:
        options_from(_from_query(query), ())
    return items_from_batch(body, limits)


def items_from_batch(body: bytes, limits: Limits) -> tuple[list[Inquiry | Exception], list[str]]:
    """The items of a batch body with their ids; an item that cannot be decoded is its error, in its place."""
    document = parse_json(body)
    rows = document.get("items") if isinstance(document, dict) else document
    if not isinstance(rows, list) or not rows or (isinstance(document, dict) and len(document) > 1):
        others = sorted(set(document) - {"items"}) if isinstance(document, dict) else []
        raise Refusal(
            422,
            "invalid",
            "the batch has members beside its items" if others else "the batch has no items",
            found=", ".join(others[:5])[:120] or None,
            expected='{"items": [{"id": "", "figure": "", "features": {}}]}',
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
    return given if _is_id(given) else str(index)


def _is_id(given: Any) -> TypeGuard[str]:
    return isinstance(given, str) and 0 < len(given) <= _LONGEST_ID


def _item(row: Any, name: str, limits: Limits) -> Inquiry | Exception:
    try:
        if not isinstance(row, dict):
            raise Refusal(422, "invalid", "an item of the batch is not an object", found=type(row).__name__)
        parts = dict(row)
        given = parts.pop("id", None)
        if given not in ("", None) and not _is_id(given):
            expected = f"a string of at most {_LONGEST_ID} characters"
            raise Refusal(422, "invalid", "the id of an item cannot be used", found=shown(given), expected=expected)
        wanted = {key: parts.pop(key) for key in list(parts) if key in _OPTION_NAMES}
        options = options_from(wanted, ITEM_OPTIONS)
        return Inquiry(_track(decoded(parts), "figure", limits, name), options)
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
            expected=f"at most {_MAX_QUERY_FIELDS}",
        ) from error


def _track(parts: dict[str, Any], kind: Kind, limits: Limits, name: str) -> Track:
    if parts.get("file") is not None:
        content = parts.pop("file")
        parts[kind if kind != "any" else "figure" if sniffing.image_header(content) else "audio"] = content
    parts = {name: value for name, value in parts.items() if value is not None or name not in _HOLDS["any"]}
    unknown = sorted(set(parts) - set(_HOLDS[kind]))
    accepted = ", ".join(_HOLDS[kind])
    if unknown:
        raise Refusal(
            422,
            "invalid",
            "a field is not known here",
            found=", ".join(unknown[:5])[:120],
            expected=f"{accepted}, and options",
        )
    audio, figure, row = parts.get("audio"), parts.get("figure"), parts.get("features")
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
