"""multipart/form-data from bytes in memory (RFC 7578). Knows nothing about what parts mean; file names are ignored."""

import re
from dataclasses import dataclass

from genre_ray.serve.problems import Refusal

_BOUNDARY = re.compile(r'boundary=(?:"([^"\r\n]{1,70})"|([^\s;"]{1,70}))', re.IGNORECASE)
_NAME = re.compile(rb'[;\s]name=(?:"([^"\r\n]{1,64})"|([^\s;"]{1,64}))', re.IGNORECASE)
_LONGEST_HEAD = 4096


@dataclass(frozen=True, slots=True)
class Part:
    """One field: its name, its declared content type ("" where there is none) and its bytes."""

    name: str
    content_type: str
    content: bytes


def parse(body: bytes, content_type: str, *, max_parts: int) -> dict[str, Part]:
    """The parts by name; Refusal 400 when the body is not what its content type says, 413 for too many parts."""
    match = _BOUNDARY.search(content_type)
    if match is None:
        raise _malformed("the content type names no boundary", content_type)
    delimiter = b"--" + (match[1] or match[2]).encode("latin-1", "replace")
    position = _first(body, delimiter)
    parts: dict[str, Part] = {}
    while body[position : position + 2] != b"--":
        if body[position : position + 2] != b"\r\n":
            raise _malformed("a boundary is not followed by a line end", "")
        if len(parts) == max_parts:
            raise Refusal(
                413,
                "too-large",
                "the form has too many parts",
                found=f"more than {max_parts}",
                expected=f"at most {max_parts}",
            )
        end = body.find(b"\r\n" + delimiter, position)
        if end < 0:
            raise _malformed("the last part has no closing boundary", "a body that was cut short")
        part = _part(body, position + 2, end)
        if part.name in parts:
            raise _malformed("two parts have the same name", part.name)
        parts[part.name] = part
        position = end + 2 + len(delimiter)
    return parts


def _first(body: bytes, delimiter: bytes) -> int:
    """Position after the first delimiter; a preamble is allowed and skipped."""
    if body.startswith(delimiter):
        return len(delimiter)
    found = body.find(b"\r\n" + delimiter, 0, _LONGEST_HEAD)
    if found < 0:
        raise _malformed("the body does not begin with its boundary", "")
    return found + 2 + len(delimiter)


def _part(body: bytes, start: int, end: int) -> Part:
    if body.startswith(b"\r\n", start):
        raise _malformed("a part has no headers", "")
    split = body.find(b"\r\n\r\n", start, min(end, start + _LONGEST_HEAD))
    if split < 0:
        raise _malformed("a part has no end of headers", "")
    name, content_type = None, ""
    for line in body[start:split].split(b"\r\n"):
        key, _, value = line.partition(b":")
        match key.strip().lower():
            case b"content-disposition":
                match = _NAME.search(value)
                name = (match[1] or match[2]).decode("utf-8", "replace") if match else None
            case b"content-type":
                content_type = value.strip().decode("latin-1").lower()
    if name is None:
        raise _malformed("a part has no name", "")
    return Part(name, content_type, body[split + 4 : end])


def _malformed(message: str, found: str) -> Refusal:
    return Refusal(
        400,
        "malformed",
        f"not valid multipart/form-data: {message}",
        found=found or None,
        expected="parts as in: curl -F figure=@track.png -F features=@features.json",
    )
