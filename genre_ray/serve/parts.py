"""The named parts of a request body: multipart, JSON with base64, or the raw file; what that is, is sniffed.

Knows nothing about Ray, servers, or what the parts say.
"""

import binascii
from typing import Any, Literal

from genre_ray.serve import multipart, sniffing
from genre_ray.serve.feature_rows import parse_json, shown
from genre_ray.serve.problems import Refusal

Kind = Literal["figure", "audio", "any"]
"""What a path accepts: figure and features, audio, or (for tests of parity) whatever the body holds."""

_FILE_PARTS: dict[str, str] = {"figure": "figure", "image": "figure", "audio": "audio", "file": "file"}
_TEXT_LIMIT = 64 * 1024


def parts_of(body: bytes, content_type: str, *, kind: Kind, max_parts: int) -> dict[str, Any]:
    """Files as bytes and all else as it is, by name; Refusal for a body that is of no accepted kind."""
    media = media_of(content_type)
    if media == "multipart/form-data":
        return _from_multipart(body, content_type, max_parts)
    return _from_json(body) if is_json(media) else {_raw_part(body, media, kind): body}


def media_of(content_type: str) -> str:
    """The media type of a Content-Type header, without parameters."""
    return content_type.partition(";")[0].strip().lower()


def is_json(media: str) -> bool:
    """Whether a media type is JSON or a kind of it (RFC 6839)."""
    return media == "application/json" or (media.endswith("+json") and media.startswith("application/"))


def _from_multipart(body: bytes, content_type: str, max_parts: int) -> dict[str, Any]:
    parts: dict[str, Any] = {}
    for name, part in multipart.parse(body, content_type, max_parts=max_parts).items():
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
    if not isinstance(parameters, dict | None):
        raise Refusal(
            422, "invalid", "parameters is not an object", found=shown(parameters), expected='{"top_k": 3}, or none'
        )
    document |= parameters or {}
    if "inputs" in document:
        document["audio"] = document.pop("inputs")
    return decoded(document)


def decoded(document: dict[str, Any]) -> dict[str, Any]:
    """The members of a JSON object, files in base64 as bytes."""
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
