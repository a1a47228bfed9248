"""multipart/form-data from bytes in memory (RFC 7578). Knows nothing about what parts mean; file names are ignored."""

import re
from dataclasses import dataclass

from genre_ray.serve.problems import Refusal

_PARAMETER = re.compile(r'\s*;\s*(?:([^\s=;"]+)\s*=\s*(?:"((?:[^"\\\r\n]|\\[^\r\n])*)"|([^\s;"]*))|(?=;|$))')
_ESCAPED = re.compile(r"\\(.)")
_LONGEST_BOUNDARY = 70  # RFC 2046, section 5.1.1
_LONGEST_NAME = 64
_LONGEST_PADDING = 64
_LONGEST_HEAD = 4096


@dataclass(frozen=True, slots=True)
class Part:
    """One field: its name, its declared content type ("" where there is none) and its bytes."""

    name: str
    content_type: str
    content: bytes


def parse(body: bytes, content_type: str, *, max_parts: int) -> dict[str, Part]:
    """The parts by name; Refusal 400 when the body is not what its content type says, 413 for too many parts."""
    _, parameters = _value_of(content_type)
    boundary = parameters.get("boundary", "")
    if not 0 < len(boundary) <= _LONGEST_BOUNDARY:
        raise _malformed("the content type names no boundary", content_type)
    delimiter = b"--" + boundary.encode("latin-1", "replace")
    position = _first(body, delimiter)
    parts: dict[str, Part] = {}
    while body[position : position + 2] != b"--":
        position = _after_padding(body, position)
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


def _after_padding(body: bytes, position: int) -> int:
    """Where the line of a boundary ends: spaces and tabs may follow it (RFC 2046, section 5.1.1)."""
    line = body[position : position + _LONGEST_PADDING]
    return position + len(line) - len(line.lstrip(b" \t"))


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
                if name is not None:
                    raise _malformed("a part has two dispositions", "")
                name = _name_of(value.decode("utf-8", "replace"))
            case b"content-type":
                content_type = value.strip().decode("latin-1").lower()
    if name is None:
        raise _malformed("a part has no name", "")
    return Part(name, content_type, body[split + 4 : end])


def _name_of(disposition: str) -> str:
    kind, parameters = _value_of(disposition)
    if kind != "form-data":
        raise _malformed("a part is no form-data", kind[:40])
    name = parameters.get("name", "")
    if not 0 < len(name) <= _LONGEST_NAME:
        raise _malformed("a part has no name", "")
    return name


def _value_of(header: str) -> tuple[str, dict[str, str]]:
    """A header's value in small letters, and its parameters one by one: a quoted one may hold what looks like others.

    Refusal 400 for one that is none, and for two of one name.
    """
    kind, semicolon, _ = header.partition(";")
    parameters: dict[str, str] = {}
    position = len(kind) if semicolon else len(header)
    end = len(header.rstrip())
    while position < end:
        match = _PARAMETER.match(header, position)
        if match is None or (match[1] or "").lower() in parameters:
            raise _malformed("a header has parameters that cannot be read, or one twice", header[position:][:40])
        position = match.end()
        if match[1]:
            quoted = match[2]
            parameters[match[1].lower()] = match[3] if quoted is None else _ESCAPED.sub(r"\1", quoted)
    return kind.strip().lower(), parameters


def _malformed(message: str, found: str) -> Refusal:
    return Refusal(
        400,
        "malformed",
        f"not valid multipart/form-data: {message}",
        found=found or None,
        expected="parts as in: curl -F figure=@track.png -F features=@features.json",
    )
