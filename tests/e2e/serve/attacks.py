# ruff: noqa: E501 - tables of bytes
"""Hostile requests as bytes for a socket, and what comes back; a table to be sent at any running service.

`table` has whole requests, `slow` those that take their time. Knows nothing about how the service is run.
"""

import base64
import io
import itertools
import json
import socket
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import av
import numpy as np
import soundfile
from PIL import Image

from genre_ray.schema import FEATURE_COLUMNS
from genre_ray.spectrogram import figure_from_levels

ALLOWED = frozenset({200, 304, 400, 401, 403, 404, 405, 408, 411, 413, 414, 415, 422, 429, 431, 501, 503, 504})
"""501 is HAProxy's word for a transfer coding that it does not know (RFC 9112, section 6.1)."""

ROW = [0.5] * 57


@dataclass
class Reply:
    """The first response on a connection: its status (0: closed without one), its headers by lower-case name, its body."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    seconds: float = 0.0

    def fault(self) -> str:
        """What is wrong with it as an answer to a stranger, "" where nothing is."""
        if self.status == 0:
            return ""  # closed: what was sent was no HTTP
        if self.status not in ALLOWED:
            return f"status {self.status}: {self.body[:200]!r}"
        if b"Traceback" in self.body or b'File "' in self.body:
            return f"a traceback: {self.body[:200]!r}"
        if self.status in (400, 408, 422) and self.body.startswith(b"<html><body><h1>4"):
            return ""  # HAProxy's own words for what is no HTTP, which cannot be changed
        if self.status >= 400 and self.body:
            if self.headers.get("content-type") != "application/problem+json":
                return f"status {self.status} as {self.headers.get('content-type')}: {self.body[:200]!r}"
            problem = json.loads(self.body)
            if problem.get("status") != self.status or not str(problem.get("type")).startswith("/docs#"):
                return f"no problem document: {self.body[:200]!r}"
            if self.status not in (400, 501) and not problem.get("request_id"):
                return f"no request's id: {self.body[:200]!r}"  # HAProxy has none for what it cannot parse
        return ""


def send(
    port: int,
    content: bytes | Iterator[bytes],
    *,
    host: str = "127.0.0.1",
    timeout_s: float = 60.0,
    method: str = "POST",
) -> Reply:
    """Send bytes (or pieces, with whatever pauses the iterator takes) and read the first response."""
    start = time.perf_counter()
    pieces = iter((content,)) if isinstance(content, bytes) else content
    with socket.create_connection((host, port), timeout=timeout_s) as connection:
        try:
            for piece in pieces:
                connection.sendall(piece)
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused before it was all there; the reason may still be read
        try:
            reply = _read(connection, bodiless=method == "HEAD")
        except (ConnectionResetError, TimeoutError):
            reply = Reply(0)
    reply.seconds = time.perf_counter() - start
    return reply


def _read(connection: socket.socket, *, bodiless: bool) -> Reply:
    data = b""
    while b"\r\n\r\n" not in data:
        got = connection.recv(65536)
        if not got:
            break
        data += got
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    if not first.startswith("HTTP/"):
        return Reply(0)
    if first.split()[1] == "100":
        connection_rest = _Prefixed(connection, body)
        return _read(connection_rest, bodiless=bodiless)  # type: ignore[arg-type]
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    length = 0 if bodiless else int(headers.get("content-length", "-1"))
    while length < 0 or len(body) < length:
        got = connection.recv(65536)
        if not got:
            break
        body += got
    return Reply(int(first.split()[1]), headers, b"" if bodiless else body[:length] if length >= 0 else body)


class _Prefixed:
    """A connection some of whose bytes were read already."""

    def __init__(self, connection: socket.socket, first: bytes) -> None:
        self._connection, self._first = connection, first

    def recv(self, size: int) -> bytes:
        first, self._first = self._first, b""
        return first or self._connection.recv(size)


def request(
    path: str = "/v1/predict",
    body: bytes = b"",
    kind: str = "application/json",
    *more: str,
    method: str = "POST",
    version: str = "1.1",
    length: str | None = None,
) -> bytes:
    """A whole request; `more` are header lines, `length` is said instead of the body's own."""
    lines = [f"{method} {path} HTTP/{version}", "Host: service", "Connection: close"]
    lines += [f"Content-Type: {kind}"] if kind else []
    lines += [f"Content-Length: {len(body) if length is None else length}"] if length != "" else []
    return "\r\n".join([*lines, *more]).encode("latin-1") + b"\r\n\r\n" + body


def figure() -> bytes:
    """A good figure."""
    return saved(figure_from_levels(np.random.default_rng(5).integers(0, 256, (1, 128, 334), dtype=np.uint8)), "PNG")


def saved(picture: Image.Image, form: str, **more: Any) -> bytes:
    """A picture as a file."""
    content = io.BytesIO()
    picture.save(content, form, **more)
    return content.getvalue()


def sound(
    form: str = "WAV", *, seconds: float = 3.0, rate: int = 22050, channels: int = 1, silent: bool = False
) -> bytes:
    """A recording: noise, or silence that packs to nothing."""
    content = io.BytesIO()
    count = int(seconds * rate)
    values = np.zeros((count, channels), np.float32)
    if not silent:
        values[:] = np.random.default_rng(1).normal(0, 0.1, (count, channels))
    soundfile.write(content, values, rate, format=form)
    return content.getvalue()


def form(*parts: tuple[str, bytes], boundary: str = "BB") -> bytes:
    """A multipart body; each part's first string is put into its disposition as it is."""
    return (
        b"".join(
            b"--%b\r\nContent-Disposition: form-data; %b\r\n\r\n%b\r\n" % (boundary.encode(), head.encode(), content)
            for head, content in parts
        )
        + b"--%b--\r\n" % boundary.encode()
    )


MULTIPART = "multipart/form-data; boundary=BB"


def document(**members: Any) -> bytes:
    """A good JSON request with `members` instead of its own."""
    good = {"figure": base64.b64encode(figure()).decode(), "features": ROW}
    return json.dumps(good | members).encode()


def chunk(kind: bytes, data: bytes, *, crc: int | None = None) -> bytes:
    """A PNG chunk."""
    made = zlib.crc32(kind + data) if crc is None else crc
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", made)


def table() -> dict[str, bytes]:
    """Name to request. Each is meant to be answered, refused in words, or (no HTTP at all) cut off."""
    found: dict[str, bytes] = {}
    for group in (_framing, _methods_and_paths, _headers, _forms, _json, _features, _options, _pictures, _sounds):
        for name, content in group():
            found[f"{group.__name__.strip('_')}: {name}"] = content
    return found


def _framing() -> Iterator[tuple[str, bytes]]:
    good = document()
    head = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    chunked = head + b"Transfer-Encoding: chunked\r\n"
    whole = b"%x\r\n%b\r\n0\r\n\r\n" % (len(good), good)
    for length in ("-1", "+5", "0x10", "1e3", "1 2", "5,5", "5, 6", "99999999999999999999", "abc", "", " "):
        yield f"length {length!r}", head + b"Content-Length: " + length.encode() + b"\r\n\r\n" + good
    yield "two equal lengths", head + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\n12345"
    yield "two lengths", head + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n123456"
    yield "length too small", request(body=good, length=str(len(good) - 100))
    yield "length of nothing", request(body=good, length="0")
    yield "no length", request(body=good, length="")
    yield "length and chunked", chunked + b"Content-Length: 4\r\n\r\n" + whole
    yield "length 0 and chunked", chunked + b"Content-Length: 0\r\n\r\n" + whole
    yield "good chunks", chunked + b"\r\n" + whole
    yield "trailers", chunked + b"\r\n" + whole[:-2] + b"X-Request-Timeout-Seconds: 0\r\nEvil: 1\r\n\r\n"
    for size in (b"-1", b"ZZ", b"0x5", b"FFFFFFFFFFFFFFFFF", b"7FFFFFFF", b"5;ext=" + b"a" * 20000, b"", b" 5", b"5 5"):
        yield f"chunk of {size[:20]!r}", chunked + b"\r\n" + size + b"\r\n12345\r\n0\r\n\r\n"
    yield "chunk longer than it says", chunked + b"\r\n3\r\n12345678\r\n0\r\n\r\n"
    yield "ten thousand chunks", chunked + b"\r\n" + b"1\r\n[\r\n" * 10000 + b"0\r\n\r\n"
    for coding in ("gzip", "gzip, chunked", "chunked, chunked", "chunked, identity", "identity", "xchunked", "CHUNKED"):
        yield f"coding {coding}", head + f"Transfer-Encoding: {coding}\r\n\r\n".encode() + whole
    yield "two codings", chunked + b"Transfer-Encoding: identity\r\n\r\n" + whole
    yield "a space before the colon", head + b"Transfer-Encoding : chunked\r\n\r\n" + whole
    yield "a folded header", head + b"X-A: 1\r\n Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n{}"
    yield "bare line feeds", b"POST /v1/predict HTTP/1.1\nHost: x\nContent-Length: 2\n\n{}"
    yield "bare carriage returns", b"POST /v1/predict HTTP/1.1\rHost: x\r\rContent-Length: 2\r\r{}"
    yield "a request in a request", request(body=b"GET /v2 HTTP/1.1\r\nHost: x\r\n\r\n", length="0")
    yield "expectation", head + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{}"
    yield "another expectation", head + b"Expect: the-moon\r\nContent-Length: 2\r\n\r\n{}"
    yield "gzip said and not done", request("/v1/predict", good, "application/json", "Content-Encoding: gzip")
    packed = zlib.compress(bytes(2**24), 9)
    yield "gzip bomb", request("/v1/predict", packed, "application/json", "Content-Encoding: deflate")
    yield (
        "upgrade to a socket",
        request(
            "/v1/predict",
            b"",
            "",
            "Upgrade: websocket",
            "Sec-WebSocket-Key: AAAA",
            "Sec-WebSocket-Version: 13",
            method="GET",
        ),
    )
    yield "upgrade to h2c", request("/", b"", "", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk", method="GET")
    yield "HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(64)
    yield "TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(300)
    yield "gRPC frame", request("/genre_ray.v1.GenreService/Predict", bytes(5), "application/grpc", "TE: trailers")
    yield "zeros", bytes(5000)
    yield "no end of line", b"A" * 70000
    yield "pipelined", request(body=good).replace(b"Connection: close\r\n", b"") * 20
    for version in ("1.0", "0.9", "1.2", "2.0", "9.9", "1", "x"):
        yield f"version {version}", request(body=good, version=version)
    yield "no version", b"GET /\r\n\r\n"
    yield "no host", b"POST /v1/predict HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}"
    yield "two hosts", b"GET /v2 HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"


def _methods_and_paths() -> Iterator[tuple[str, bytes]]:
    for method in ("OPTIONS", "TRACE", "PUT", "DELETE", "PATCH", "PROPFIND", "get", "G" * 9000, "A\x01"):
        yield f"method {method[:12]!r}", request(body=b"{}", method=method)
    yield "CONNECT", b"CONNECT 169.254.169.254:80 HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n"
    yield "options of all", b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n"
    for path in (
        "http://169.254.169.254/latest/meta-data/", "http://service/v1/model", "//evil/v1/predict", "/v1//predict",
        "/../../etc/passwd", "/static/../../../etc/passwd", "/static/..%2f..%2fsettings.py", "/static/%2e%2e/web.py",
        "/static/..%252f..%252fetc/passwd", "/static/..\\..\\settings.py", "/static/app.js%00.html", "/static/app.js/",
        "/%00", "/%", "/%zz", "/%ff%fe", "/%c0%ae%c0%ae/etc", "/%ed%a0%80", "/v1/predict/", "/v1/predict;x=1", "/v1/model?",
        "/V1/PREDICT", "/v1/predict%2Faudio", "/-/healthz", "/-/routes", "/-/x", "/metrics", "/stats", "/docs/../v2", "*",
        "relative", "/" + "a" * 9000, "/" + "a/" * 4000, "/" + "%41" * 3000, "/v2/models/genre/versions/", "/v2/models/%00",
        "/v2/models/genre/versions/../ready", "/v2/models/" + "x" * 5000, "/.git/config", "/.env", "/\u00e9", "/\u00ff\u00fe",
        "/\t", "/a b c",
    ):  # fmt: skip
        for method in ("GET", "POST"):
            yield f"{method} {path[:40]!r}", request(path, b"{}" if method == "POST" else b"", "", method=method)


def _headers() -> Iterator[tuple[str, bytes]]:
    good = document()
    for line in (
        "x-request-timeout-seconds: 0.000001", "x-request-timeout-seconds: -1", "x-request-timeout-seconds: nan",
        "X-Request-Disconnect-Disabled: ?1", "x-request-disconnect-disabled: 1", "serve_multiplexed_model_id: x",
        "serve-multiplexed-model-id: ../../x", "x-request-id: " + "a" * 5000, "x-request-id: \u00e9\u00ff", "x-request-id: a b\tc",
        "x-request-id: ${jndi:ldap://x}", "X-Request-Id: a\r\nX-Request-Id: b", "traceparent: 00-" + "f" * 5000, "traceparent: \u00ff",
        "tracestate: " + "a=b," * 500, "X-Forwarded-For: 127.0.0.1", "X-Forwarded-Prefix: /evil", "Forwarded: for=127.0.0.1",
        "Range: bytes=0-18446744073709551615", "If-None-Match: " + '"x",' * 900, "Cookie: " + "a" * 4000, "Accept: \u00ff/\u00ff",
        "Authorization: Bearer", "Authorization: Bearer " + "a" * 7000, "Authorization: Basic OjpA", "Authorization: \u00ff\u00fe",
        "Authorization: Bearer a\r\nAuthorization: Bearer b", "Origin: http://evil", "Access-Control-Request-Method: POST",
        "Content-Type: text/plain", "Connection: content-length", "Connection: x-request-id, close", "Proxy: http://evil",
        "X-HTTP-Method-Override: DELETE", ": no name", "no colon", "b\u00e4d: 1", "a b: 1", "X: \x00", "X: \x7f", "X: " + "a" * 70000,
    ):  # fmt: skip
        yield repr(line[:40]), request("/v1/predict", good, "application/json", line)
    yield "a thousand headers", request("/v2", b"", "", *(f"x-{i}: {i}" for i in range(1000)), method="GET")
    yield (
        "a hundred kilobytes of headers",
        request("/v2", b"", "", *(f"x-{i}: {'a' * 1000}" for i in range(100)), method="GET"),
    )
    for kind in (
        "", "text/plain", "application/xml", "application/x-www-form-urlencoded", "application/json; charset=utf-16",
        "application/json;" * 300, "APPLICATION/JSON", "application/problem+json", "image/png", "application/octet-stream",
        "multipart/form-data", "multipart/form-data; boundary=", 'multipart/form-data; boundary="', "multipart/mixed; boundary=BB",
        "multipart/form-data; boundary=" + "B" * 300, "multipart/form-data; boundary=\u00e9", ";;;", "\u00ff", "application/",
        "multipart/form-data; boundary=a; boundary=b", "*/*",
    ):  # fmt: skip
        yield f"type {kind[:40]!r}", request("/v1/predict", good, kind)
    yield "BOM in UTF-16", request("/v1/predict", good.decode().encode("utf-16"), "application/json")


def _forms() -> Iterator[tuple[str, bytes]]:
    row, png = json.dumps(ROW).encode(), figure()

    def sent(*parts: tuple[str, bytes], path: str = "/v1/predict") -> bytes:
        return request(path, form(*parts), MULTIPART)

    yield "a field twice", sent(('name="features"', row), ('name="features"', row), ('name="figure"', png))
    yield "a figure under two names", sent(('name="figure"', png), ('name="image"', b"x"), ('name="features"', row))
    yield "ten thousand fields", sent(*((f'name="f{i}"', b"") for i in range(10_000)))
    yield "a field of two megabytes", sent(('name="features"', b"1" * 2_000_000))
    yield "an unknown field", sent(('name="figure"', png), ('name="features"', row), ('name="admin"', b"1"))
    yield "a form in a form", sent(('name="figure"', form(('name="figure"', png))), ('name="features"', row))
    for head in (
        "", "name=", 'name=""', "name=figure", 'name="figure', "name*=UTF-8''figure", 'filename="../../x"; name="figure"',
        'name="figure"; filename="' + "a" * 5000 + '"', 'name="fig\x00ure"', 'name="FIGURE"', 'name="figure"; name="features"',
        'name="figure"\r\nContent-Disposition: form-data; name="features"', 'filename="; name=features"; name="figure"',
        'name="figure\r\nX: y"', 'name="\u202efigure"', "name=" + "a" * 5000,
    ):  # fmt: skip
        yield f"disposition {head[:30]!r}", sent((head, png), ('name="features"', row))
    whole = form(('name="figure"', png), ('name="features"', row))
    yield "an attachment", request("/v1/predict", whole.replace(b"form-data;", b"attachment;"), MULTIPART)
    yield (
        "blanks after boundaries",
        request("/v1/predict", whole.replace(b"--BB\r\n", b"--BB" + b" \t" * 30 + b"\r\n"), MULTIPART),
    )
    yield "a boundary in a quote", request("/v1/predict", whole, 'multipart/form-data; x="; boundary=ZZ"; boundary=BB')
    yield "another boundary", request("/v1/predict", whole, "multipart/form-data; boundary=CC")
    yield "cut off", request("/v1/predict", whole[:-20], MULTIPART)
    yield "only a boundary", request("/v1/predict", b"--BB--", MULTIPART)
    yield "only boundaries", request("/v1/predict", b"--BB\r\n" * 300_000, MULTIPART)
    yield "endless part headers", request("/v1/predict", b"--BB\r\n" + b"A: b\r\n" * 400_000, MULTIPART)
    yield "bytes after the end", request("/v1/predict", whole + bytes(100_000), MULTIPART)
    yield "line feeds only", request("/v1/predict", whole.replace(b"\r\n", b"\n"), MULTIPART)
    yield "features that are a file", sent(('name="figure"; filename="f"', row), ('name="features"; filename="g"', png))
    yield "features in UTF-16", sent(('name="figure"', png), ('name="features"', row.decode().encode("utf-16")))
    yield "sound and figure", sent(('name="audio"', sound()), ('name="figure"', png), ('name="features"', row))
    yield "figure to the sound", sent(('name="figure"', png), ('name="features"', row), path="/v1/predict/audio")
    yield "a form for the batch", sent(('name="items"', b"[]"), path="/v1/predict/batch")
    yield "a file that is empty", sent(('name="figure"; filename="a.png"', b""), ('name="features"', row))


def _json() -> Iterator[tuple[str, bytes]]:
    deep = b"[" * 900 + b"]" * 900
    bodies = {
        "nothing": b"", "null": b"null", "a number": b"1", "a string": b'"a"', "a list": b"[]", "an empty object": b"{}",
        "a comment": b"/**/{}", "two documents": b"{}{}", "a trailing comma": b'{"features": [1,]}', "a lone surrogate": b'"\\ud800"',
        "a surrogate as a key": b'{"\\ud800": 1}', "a null byte": b'{"fea\x00tures": 1}', "an escaped null": b'{"fea\\u0000tures": 1}',
        "bad UTF-8": b'{"\xff": 1}', "overlong UTF-8": b'{"\xc0\xae": 1}', "a key of a megabyte": b'{"' + b"k" * 2**20 + b'": 1}',
        "fifty thousand keys": b"{" + b",".join(b'"k%d":1' % i for i in range(50_000)) + b"}", "a key twice": b'{"features":1,"features":2}',
        "brackets": b"[" * 500_000, "objects": b'{"a":' * 300_000, "brackets closed": b"[" * 100_000 + b"]" * 100_000,
        "depth under figure": b'{"figure":' + deep + b"}", "depth under features": b'{"features":' + deep + b"}",
        "depth in a feature": b'{"features":[' + deep + b",1" * 56 + b"]}", "depth in a column": b'{"features":{"tempo":' + deep + b"}}",
        "depth of a thousand in a feature": b'{"features":[' + deep[:900] + b"[" * 100 + b"]" * 100 + deep[900:] + b",1" * 56 + b"]}",
        "a million lists": b'{"features":[' + b"[]," * 2**20 + b"1]}", "a million objects": b'{"features":[' + b"{}," * 2**20 + b"1]}",
        "two million numbers": b'{"features":[' + b"1," * 2_000_000 + b"1]}", "parameters are a string": b'{"inputs":"AAAA","parameters":"x"}',
        "depth under top_k": b'{"features":[1],"top_k":' + deep + b"}", "depth under an unknown key": b'{"x":' + deep + b"}",
        "depth under parameters": b'{"inputs":"AAAA","parameters":' + deep + b"}", "depth by objects": b'{"top_k":' + b'{"a":' * 900 + b"1" + b"}" * 901,
        "a proto": b'{"__proto__": {"x": 1}, "constructor": 1}', "figure is a list": b'{"figure": [1,2]}', "figure is true": b'{"figure": true}',
        "base64 of spaces": b'{"figure": "    "}', "base64 cut": b'{"figure": "AAA"}', "base64 for URLs": b'{"figure": "-_-_"}',
        "base64 of three megabytes": b'{"figure": "' + b"A" * 3_000_000 + b'"}', "a data URL": b'{"figure": "data:image/png;base64,"}',
        "a data URL without comma": b'{"figure": "data:"}', "a file URL": b'{"figure": "file:///etc/passwd"}', "base64 in Greek": '{"figure": "αβγδ"}'.encode(),
        "a bucket URL": b'{"figure": "s3://bucket/key", "features": "http://169.254.169.254/"}', "features in a string": b'{"features": "[[[["}',
        "features in a string in a string": json.dumps({"features": json.dumps(json.dumps(ROW))}).encode(), "inputs is null": b'{"inputs": null}',
    }  # fmt: skip
    for (name, body), path in itertools.product(bodies.items(), ("/v1/predict", "/v1/predict/audio")):
        yield f"{name} to {path[4:]}", request(path, body)
    batches = {
        "no items": b'{"items": []}', "items is a number": b'{"items": 1}', "a thousand items": b'{"items": [' + b"{}," * 999 + b"{}]}",
        "items of every kind": b'{"items": [null, 1, "a", [], {}, true, 1e308, {"id": {}}, {"id": "' + b"x" * 5000 + b'"}, {"figure": {}}]}',
        "ids alike": b'{"items": [{"id": "a"}, {"id": "a"}]}', "deep items": b'{"items": [' + deep + b"]}", "deep ids": b'{"items": [{"id": ' + deep + b"}]}",
        "ids of every kind": b'{"items": [{"id": 7}, {"id": 1e99}, {"id": true}, {"id": []}, {"id": ""}]}', "members beside the items": b'{"items": [{}], "top_k": 1}',
        "explain in every item": b'{"items": [' + b",".join([b'{"features": [], "explain": true}'] * 64) + b"]}", "ten million lists": b'{"items": [' + b"[]," * 10_000_000 + b"1]}",
        "deep options": b'{"items": [{"top_k": ' + deep + b', "features": []}]}', "deep features": b'{"items": [{"features": [' + deep + b",1" * 56 + b"]}]}",
    }  # fmt: skip
    for name, body in batches.items():
        yield f"batch: {name}", request("/v1/predict/batch", body)
    yield "batch: a picture", request("/v1/predict/batch", figure(), "image/png")
    yield "batch: a query", request("/v1/predict/batch?top_k=1", b'{"items": [{}]}')


def _features() -> Iterator[tuple[str, bytes]]:
    png = base64.b64encode(figure())

    def sent(row: bytes) -> bytes:
        return request(body=b'{"figure": "' + png + b'", "features": ' + row + b"}")

    for value in (
        b"NaN", b"Infinity", b"-Infinity", b"-0", b"-0.0", b"1e999", b"-1e999", b"1e308", b"1e-400", b"5e-324", b"1e15", b"1e16",
        b"9" * 400, b"-" + b"9" * 400, b"18446744073709551615", b"18446744073709551616", b"0." + b"1" * 100_000, b"1" * 100_000,
        b"01", b"+1", b"0x1", b"1_000", b'"1"', b"null", b"true", b"[]", b"{}", b'"' + b"a" * 100_000 + b'"', b"1E+2", b".5", b"5.",
    ):  # fmt: skip
        yield f"a value {value[:24]!r}", sent(b"[" + value + b",1" * 56 + b"]")
    for count in (0, 1, 56, 58, 100_000):
        yield f"{count} values", sent(json.dumps([1.0] * count).encode())
    named = dict.fromkeys(FEATURE_COLUMNS, 1.0)
    for change in (
        {"length": "x" * 1000, "filename": [], "label": {}},
        {"Tempo": 1.0},
        {"tempo": None},
        {"": 1.0},
        {"a" * 9000: 1},
    ):
        yield f"columns and {next(iter(change))[:20]!r}", sent(json.dumps(named | change).encode())
    yield "all at the edge", sent(json.dumps([1e15] * 57).encode())
    yield "all at the other edge", sent(json.dumps([-1e15] * 57).encode())
    yield "all tiny", sent(json.dumps([5e-324] * 57).encode())


def _options() -> Iterator[tuple[str, bytes]]:
    good = document()
    for query in (
        "top_k=0", "top_k=-1", "top_k=1.5", "top_k=1e3", "top_k=99999999999999999999", "top_k=", "top_k=%00", "top_k=%ff", "top_k[]=1", "topk=3", "pad=" + "x" * 2040 + "&top_k=1",
        "function_to_apply=sigmoid", "threshold=nan", "threshold=inf", "threshold=-0.0", "threshold=1e-999", "clip_s=nan", "clip_s=1e308", "clip_s=-5", "clip_s=0",
        "explain=maybe", "explain=1&explain=0", "over_time=%F0%9F%98%80", "&" * 50, "&".join(f"a{i}=1" for i in range(33)),
        "&".join(["top_k=1"] * 500), "=" * 500, "a=" + "x" * 6000, ";".join(["a=1"] * 50), "%", "%zz", "top_k=%31", "?top_k=1?", "#top_k=1",
    ):  # fmt: skip
        yield f"{query[:30]!r}", request(f"/v1/predict?{query}", good)
        yield f"{query[:30]!r} for a sound", request(f"/v1/predict/audio?{query}", b"fLaC" + bytes(60), "audio/flac")
    for name, value in itertools.product(
        ("top_k", "threshold", "clip_s", "explain"), ([], {}, "x" * 9000, 1e308, -1, [[1]], "\x00")
    ):
        yield f"{name} = {str(value)[:12]!r}", request(body=document(**{name: value}))


def _pictures() -> Iterator[tuple[str, bytes]]:
    for name, content in pictures().items():
        parts = form(('name="figure"', content), ('name="features"', json.dumps(ROW).encode()))
        yield name, request("/v1/predict", parts, MULTIPART)


def pictures() -> dict[str, bytes]:
    """Pictures that are damaged, of another kind, or dear to decode."""
    good, size = figure(), (432, 288)
    rgba, start, rest = Image.open(io.BytesIO(good)), good[:33], good[33:]
    zipped, text = zlib.compress(bytes(400 * 2**20), 9), b"k\0\0"
    jpeg = saved(rgba.convert("RGB"), "JPEG")
    found = {
        "wrong checksum of the header": good[:29] + bytes(4) + rest, "wrong checksum of the pixels": good[:-20] + bytes(4) + good[-16:],
        "interlaced": saved_interlaced(), "16 bit": saved(Image.fromarray(np.zeros((288, 432), np.uint16)), "PNG"),
        "palette": saved(rgba.convert("P"), "PNG"), "grey": saved(rgba.convert("L"), "PNG"), "one bit": saved(rgba.convert("1"), "PNG"),
        "animated": saved(rgba, "PNG", save_all=True, append_images=[rgba] * 5), "truncated": good[: len(good) // 2], "only a header": start,
        "0 x 0": start[:16] + bytes(8) + start[24:] + rest, "huge by its header": start[:16] + b"\x7f\xff\xff\xff" * 2 + start[24:] + rest,
        "433 x 288": saved(rgba.resize((433, 288)), "PNG"), "1 x 1": saved(rgba.resize((1, 1)), "PNG"), "1 x 65535": saved(Image.new("L", (1, 65535)), "PNG"),
        "a text that inflates to 400 MB": start + chunk(b"zTXt", text + zipped) + rest, "a note that inflates": start + chunk(b"iTXt", b"k\0\1\0\0\0" + zipped) + rest,
        "a profile that inflates": start + chunk(b"iCCP", text + zipped) + rest, "pixels that inflate": start + chunk(b"IDAT", zipped) + chunk(b"IEND", b""),
        "300,000 empty chunks": start + chunk(b"IDAT", b"") * 300_000 + rest, "300,000 notes": start + chunk(b"tEXt", b"a\0b") * 250_000 + rest,
        "a chunk of 2 GB": start + b"\x7f\xff\xff\xffIDAT" + rest, "two headers": start + good[8:33] + rest, "a second header, huge": start
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 6, 0, 0, 0)) + rest, "an unknown critical chunk": start + chunk(b"EVIL", b"x") + rest,
        "all black": saved(Image.new("RGBA", size), "PNG"), "transparent": saved(Image.new("RGBA", size, (9, 9, 9, 0)), "PNG"), "noise": saved(
            Image.fromarray(np.random.default_rng(0).integers(0, 256, (288, 432, 3), dtype=np.uint8)), "PNG"), "script after the end": good + b"<script>",
        "a profile after the pixels": good[:-12] + chunk(b"iCCP", b"k\0") + good[-12:], "jpeg of 100,000 notes": noted(jpeg, b"\xff\xe1\x00\x1cExif\0\0" + bytes(20), 100_000),
        "jpeg with fill bytes": noted(jpeg, b"\xff", 3 * 2**20), "grey jpeg": saved(rgba.convert("L"), "JPEG"), "CMYK jpeg": saved(rgba.convert("CMYK"), "JPEG"), "progressive jpeg": saved(rgba.convert("RGB"), "JPEG", progressive=True),
        "jpeg cut": jpeg[: len(jpeg) // 2], "jpeg of two bytes": b"\xff\xd8", "jpeg, 65535 x 65535": jpeg_of(65535, 65535, 1), "jpeg of 150,000 scans": jpeg_of(432, 288, 150_000),
        "jpeg, 0 x 0": jpeg_of(0, 0, 1), "GIF": saved(rgba.convert("P"), "GIF"), "WebP": saved(rgba, "WEBP"), "TIFF": saved(rgba, "TIFF"), "BMP": saved(rgba, "BMP"),
        "SVG": b'<svg xmlns="http://www.w3.org/2000/svg" width="432" height="288"><image href="file:///etc/passwd"/></svg>', "PDF": b"%PDF-1.7\n" + bytes(100),
        "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 432 288\n(/etc/passwd) (r) file\n", "ICO": saved(rgba.resize((32, 32)), "ICO"), "zip": b"PK\x03\x04" + bytes(100),
    }  # fmt: skip
    return found


def noted(jpeg: bytes, note: bytes, count: int) -> bytes:
    """A JPEG with `note` so many times behind its frame header."""
    start = jpeg.index(b"\xff\xc0")
    end = start + 2 + int.from_bytes(jpeg[start + 2 : start + 4], "big")
    return jpeg[:end] + note * count + jpeg[end:]


def saved_interlaced() -> bytes:
    """A PNG that says it is interlaced, with pixels that are not."""
    good = figure()
    header = good[16:28] + b"\x01"
    return good[:8] + chunk(b"IHDR", header) + good[33:]


def jpeg_of(width: int, height: int, scans: int) -> bytes:
    """A progressive JPEG with a first scan of nothing and many that refine it, nineteen bytes each (ITU T.81, annex G)."""
    table_ = b"\xff\xdb\x00\x43\x00" + bytes([1] * 64)
    frame = b"\xff\xc2\x00\x0b\x08" + struct.pack(">HH", height, width) + b"\x01\x01\x11\x00"
    huffman = b"\xff\xc4\x00\x14\x10\x01" + bytes(15) + b"\xe0" + b"\xff\xc4\x00\x14\x00\x01" + bytes(15) + b"\x00"
    scan = b"\xff\xda\x00\x08\x01\x01\x00\x01\x3f\x00" + b"\x3f\xff\x00"
    return b"\xff\xd8" + table_ + frame + huffman + scan * scans + b"\xff\xd9"


def _sounds() -> Iterator[tuple[str, bytes]]:
    for name, content in sounds().items():
        yield name, request("/v1/predict/audio?clip_s=5", content, "audio/wav")
    yield (
        "all options at once",
        request(
            "/v1/predict/audio?clip_s=1&explain=1&over_time=1&top_k=1000&threshold=0", sound(seconds=8), "audio/wav"
        ),
    )
    yield "as text", request("/v1/predict/audio", sound(), "text/plain")
    yield "in a bad base64", request("/v1/predict/audio", b'{"audio": "' + base64.b64encode(sound())[:-1] + b'"}')


def sounds() -> dict[str, bytes]:
    """Recordings that are damaged, forged, or dear to decode."""
    good, ogg, flac, mp3 = sound(), sound("OGG"), sound("FLAC"), sound("MP3")
    id3 = lambda size: b"ID3\x04\x00\x00" + bytes((size >> shift) & 0x7F for shift in (21, 14, 7, 0))  # noqa: E731
    found = {
        "nothing": b"", "one byte": b"R", "RIFF": b"RIFF", "text": b"this is not a wav file, whatever its name says", "HTML": b"<html>" * 50, "zeros": bytes(5000),
        "data of 4 GB": wav(1000, size=2**32 - 8), "data of 0": wav(1000, size=0), "1024 channels": wav(64, channels=1024), "0 channels": wav(64, channels=0),
        "65535 channels": wav(64, channels=65535), "192 MHz": wav(5000, rate=192_000_000), "1 Hz": wav(5000, rate=1), "0 Hz": wav(5000, rate=0), "0 bits": wav(5000, bits=0),
        "65535 bits": wav(5000, bits=65535), "an unknown codec": wav(5000, code=0xBEEF), "floats that are NaN": wav(5000, code=3, bits=32, data=b"\x00\x00\xc0\x7f" * 5000),
        "floats that are infinite": wav(5000, code=3, bits=32, data=b"\x00\x00\x80\x7f" * 5000), "floats that are huge": wav(5000, code=3, bits=32, data=b"\xff\xff\x7f\x7f" * 5000),
        "RF64": b"RF64" + good[4:], "RIFX": b"RIFX" + good[4:], "a chunk in a chunk": good[:12] + b"LIST" + struct.pack("<I", 2**31) + good[12:], "100,000 chunks": good[:12]
        + b"JUNK\0\0\0\0" * 100_000 + good[12:], "silent": sound(silent=True), "a tenth of a second": sound(seconds=0.1), "one sample": sound(seconds=1 / 22050), "no sample": good[:44],
        "8 kHz": sound(rate=8000), "7 kHz": wav(21_000, rate=7000), "flac of an hour": sound("FLAC", seconds=3600, silent=True), "flac of nine minutes, eight channels, 192 kHz": long_flac(),
        "flac cut": flac[: len(flac) // 2], "flac of noise": b"fLaC\x80\x00\x00\x22" + np.random.default_rng(0).bytes(5000), "flac without blocks": b"fLaC", "ogg twice, chained": ogg * 2,
        "ogg chained with another rate": ogg + sound("OGG", rate=44100, channels=2), "ogg a hundred times": ogg * 100, "ogg, its pages shuffled": shuffled(ogg), "ogg cut": ogg[: len(ogg) // 2],
        "ogg of pages without end": b"OggS\0\2" + bytes(20) + b"\x01\xff" * 1000, "mp3 behind an ID3 of 256 MB": id3(2**28 - 1) + mp3, "mp3 behind ten megabytes of ID3": id3(10 * 2**20)
        + bytes(10 * 2**20) + mp3, "mp3 behind 10,000 ID3": (id3(0)) * 10_000 + mp3, "mp3 cut": mp3[: len(mp3) // 2], "mp3 and html": mp3 + b"<html>" * 5000, "mp3 sync words": b"\xff\xfb\x90\x00" * 50_000,
        "aac sync words": b"\xff\xf1\x50\x80\x00\x1f\xfc" * 30_000, "m4a": m4a(), "m4a cut": m4a()[:-500], "m4a of nothing": b"\0\0\0\x18ftypM4A \0\0\0\0M4A mp42", "m4a with a box of 0": m4a()[:24]
        + bytes(8) + m4a()[24:], "m4a with a box of 2^63": b"\0\0\0\1ftyp\x7f" + b"\xff" * 7 + b"M4A " + m4a(), "m4a of boxes in boxes": b"\0\0\0\x18ftypM4A \0\0\0\0M4A mp42" + boxes(5000),
        "m4a with numbers of 2^32": m4a().replace(b"stsz\0\0\0\0\0\0\0\0\0\0", b"stsz\0\0\0\0\0\0\0\0\xff\xff"), "webm of nothing": b"\x1aE\xdf\xa3" + b"\xff" * 500, "aiff": sound("AIFF"), "aiff, forged": b"FORM\x7f\xff\xff\xffAIFFCOMM\0\0\0\x12\xff\xff"
        + b"\xff" * 500, "au, forged": b".snd\xff\xff\xff\xff" + b"\xff" * 500, "au of 0 Hz": b".snd\0\0\0\x18\xff\xff\xff\xff\0\0\0\3\0\0\0\0\0\0\0\1" + bytes(5000), "a picture": figure(), "a playlist": b"#EXTM3U\nfile:///etc/passwd\n",
        "m4a of ten million samples": mp4(mp4_track(10_000_000)), "m4a of four tracks of ten million samples": mp4(*[mp4_track(10_000_000)] * 4), "m4a, its index packed": packed_mp4(2**26),
        "m4a of a hundred tracks": mp4(*[mp4_track(10)] * 100), "m4a of a million edits": mp4(mp4_track(1000, edits=10_000), data=bytes(1000)), "m4a of one sample a packet": mp4_of_single_samples(200_000),
        "m4a with a picture for a video": mp4(mp4_track(1, size=2**20, codec=b"png ", picture=8000), mp4_track(50)), "m4a of a million small boxes": mp4() + box(b"free") * 10**6,
        "webm of two bytes a block": webm(200_000), "webm of empty packets": webm(2_000_000, codec=b"A_VORBIS"), "aac of seven bytes a frame": b"\xff\xf1\x50\x80\x00\xff\xfc" * 2_000_000,
        "64 bits": wav(40_000, bits=64, data=np.random.default_rng(0).bytes(320_000)), "a list for FFmpeg": b"ffconcat version 1.0\nfile '/etc/passwd'\n", "an mpd": b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><MPD>&a;</MPD>', "gzip": zlib.compress(good), "an executable": b"\x7fELF" + bytes(500),
    }  # fmt: skip
    return found


def wav(
    samples: int,
    *,
    channels: int = 1,
    rate: int = 22050,
    bits: int = 16,
    code: int = 1,
    size: int | None = None,
    data: bytes | None = None,
) -> bytes:
    """A WAV whose header says anything."""
    if data is None:
        data = np.random.default_rng(0).bytes(min(samples * max(1, channels) * 2, 2**20))
    size = len(data) if size is None else size
    fmt = struct.pack(
        "<HHIIHH", code, channels, rate, rate * channels * 2 & 0xFFFFFFFF, channels * bits // 8 & 0xFFFF, bits
    )
    head = b"RIFF" + struct.pack("<I", (36 + size) & 0xFFFFFFFF) + b"WAVEfmt \x10\0\0\0" + fmt
    return head + b"data" + struct.pack("<I", size & 0xFFFFFFFF) + data


def long_flac() -> bytes:
    """Nine minutes of silence in eight channels at 192 kHz: 830 million samples in a few hundred kilobytes."""
    content = io.BytesIO()
    with soundfile.SoundFile(content, "w", samplerate=192_000, channels=8, format="FLAC", subtype="PCM_16") as file:
        silence = np.zeros((192_000, 8), np.int16)
        silence[:2] = 9000
        for _ in range(540):
            file.write(silence)
    return content.getvalue()


def shuffled(ogg: bytes) -> bytes:
    """The pages of an Ogg file in another order."""
    pages = ogg.split(b"OggS")[1:]
    return b"".join(b"OggS" + page for page in pages[::-1])


def m4a() -> bytes:
    """Three seconds of AAC in MP4."""
    content = io.BytesIO()
    with av.open(content, "w", format="mp4") as file:
        stream = file.add_stream("aac", rate=22050)
        stream.layout = "mono"
        noise = np.random.default_rng(0).normal(0, 0.1, (1, 3 * 22050)).astype(np.float32)
        for at in range(0, noise.shape[1] - 1024, 1024):
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(noise[:, at : at + 1024]), "fltp", "mono")
            frame.sample_rate = 22050
            for packet in stream.encode(frame):
                file.mux(packet)
        for packet in stream.encode(None):
            file.mux(packet)
    return content.getvalue()


def box(name: bytes, *content: bytes) -> bytes:
    """An MP4 box."""
    return struct.pack(">I", 8 + sum(map(len, content))) + name + b"".join(content)


def numbers(name: bytes, *values: int) -> bytes:
    """An MP4 box of version 0 with 32-bit numbers."""
    return box(name, bytes(4), struct.pack(f">{len(values)}I", *values))


def mp4_track(
    samples: int,
    *,
    size: int = 1,
    step: int = 2,
    at: int = 40,
    codec: bytes = b"sowt",
    edits: int = 0,
    picture: int = 0,
) -> bytes:
    """A track of `samples` of `size` bytes, `step` apart, whose data begin `at`; a video of so many pixels a side."""
    matrix = struct.pack(">9i", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
    if picture:
        about = (
            bytes(16)
            + struct.pack(">HHIIIH", picture, picture, 0x480000, 0x480000, 0, 1)
            + bytes(32)
            + b"\0\x18\xff\xff"
        )
    else:
        about = bytes(8) + struct.pack(">HHHHI", 1, 16, 0, 0, 8000 << 16)
    entry = box(b"stsd", bytes(4), struct.pack(">I", 1), box(codec, bytes(6), struct.pack(">H", 1), about))
    tables = box(b"stbl", entry, numbers(b"stts", 1, samples, step), numbers(b"stsc", 1, 1, samples, 1),
                 numbers(b"stsz", size, samples), numbers(b"stco", 1, at))  # fmt: skip
    media = box(
        b"mdia",
        box(b"mdhd", bytes(4), struct.pack(">IIIIHH", 0, 0, 8000, samples * step & 0xFFFFFFFF, 0x55C4, 0)),
        box(b"hdlr", bytes(8), b"vide" if picture else b"soun", bytes(13)),
        box(b"minf", tables),
    )
    head = box(b"tkhd", b"\0\0\0\7", struct.pack(">IIIII", 0, 0, 1, 0, samples), bytes(16), matrix, bytes(8))
    edit_list = box(b"edts", numbers(b"elst", edits, *(samples, 0, 0x10000) * edits)) if edits else b""
    return box(b"trak", head, edit_list, media)


def mp4(*tracks: bytes, data: bytes = bytes(100)) -> bytes:
    """An MP4 file of these tracks."""
    return box(b"ftyp", b"M4A \0\0\0\0M4A mp42") + box(b"moov", *tracks) + box(b"mdat", data)


def packed_mp4(inflated: int) -> bytes:
    """An MP4 file whose index is packed."""
    index = box(b"moov", mp4_track(10), box(b"free", bytes(inflated)))
    packed = box(b"cmvd", struct.pack(">I", len(index)), zlib.compress(index, 9))
    return mp4()[:28] + box(b"moov", box(b"cmov", box(b"dcom", b"zlib"), packed))


def mp4_of_single_samples(samples: int) -> bytes:
    """Two bytes of sound a packet, each a chunk of its own, all at one place in the file."""

    def track(at: int) -> bytes:
        places = numbers(b"stco", samples, *(at,) * samples)
        whole = mp4_track(samples, size=2, step=1).replace(
            numbers(b"stsc", 1, 1, samples, 1), numbers(b"stsc", 1, 1, 1, 1)
        )
        return resized(whole.replace(numbers(b"stco", 1, 40), places), len(places) - 20)

    noise = np.random.default_rng(0).bytes(2)
    return mp4(track(len(mp4(track(0), data=b""))), data=noise)


def resized(boxes_: bytes, grown: int) -> bytes:
    """A track in which `stco` was exchanged for one that is longer by `grown` bytes."""
    for name in (b"trak", b"mdia", b"minf", b"stbl"):
        place = boxes_.index(name) - 4
        length = struct.unpack_from(">I", boxes_, place)[0] + grown
        boxes_ = boxes_[:place] + struct.pack(">I", length) + boxes_[place + 4 :]
    return boxes_


def webm(blocks: int, *, codec: bytes = b"A_PCM/INT/LIT", payload: bytes = b"\1\1", bits: int = 16) -> bytes:
    """A WebM file of blocks of a few bytes each."""

    def element(name: str, *content: bytes) -> bytes:
        data = b"".join(content)
        return bytes.fromhex(name) + struct.pack(">Q", len(data) | 1 << 56) + data

    sound_ = element(
        "e1", element("b5", struct.pack(">d", 8000.0)), element("9f", b"\1"), element("6264", bytes([bits]))
    )
    track = element(
        "ae", element("d7", b"\1"), element("73c5", b"\1"), element("83", b"\2"), element("86", codec), sound_
    )
    block = b"\xa3" + bytes([0x80 | 4 + len(payload)]) + b"\x81\0\0\x80" + payload
    info = element("1549a966", element("2ad7b1", b"\x0f\x42\x40"))
    cluster = element("1f43b675", element("e7", b"\0"), block * blocks)
    head = element("1a45dfa3", element("4282", b"matroska"), element("4287", b"\4"), element("4285", b"\2"))
    return head + element("18538067", info, element("1654ae6b", track), cluster)


def boxes(depth: int) -> bytes:
    """MP4 boxes, each in the one before."""
    return b"".join(struct.pack(">I", 8 * (depth - i)) + b"moov" for i in range(depth))


Slow = Callable[[], Iterator[bytes]]


def slow() -> dict[str, Slow]:
    """Requests that dribble: a header at a time, a byte of the body at a time, nothing at all."""
    head = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"

    def headers() -> Iterator[bytes]:
        yield head
        for i in range(40):
            yield b"X-%d: 1\r\n" % i
            time.sleep(0.5)

    def body() -> Iterator[bytes]:
        yield head + b"Content-Length: 5000\r\n\r\n"
        for _ in range(40):
            yield b"["
            time.sleep(0.5)

    def chunks() -> Iterator[bytes]:
        yield head + b"Transfer-Encoding: chunked\r\n\r\n"
        for _ in range(40):
            yield b"1\r\n[\r\n"
            time.sleep(0.5)

    def short() -> Iterator[bytes]:
        yield request(body=b"{}", length="5000")

    def silent() -> Iterator[bytes]:
        yield b"POST"

    return {
        "headers": headers,
        "body": body,
        "chunks": chunks,
        "fewer bytes than announced": short,
        "four letters": silent,
    }
