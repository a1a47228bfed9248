"""One HTTP request and its response over ASGI: headers once, a body that is counted, an answer that always arrives.

Knows nothing about Ray or what is asked.
"""

import asyncio
import re
import uuid
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from genre_ray.serve.admission import Ticket
from genre_ray.serve.answers import to_json
from genre_ray.serve.problems import Refusal

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
"""A request id that is taken from outside."""

_LONGEST_QUERY = 2048
_DRAIN_BYTES = 8 * 1024**2
_DRAIN_S = 1.0
_SMALL_BODY = 1024**2

SAFE_HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
)


class ClientGoneError(Exception):
    """The client closed the connection before its body was complete."""


@dataclass(slots=True)
class Request:
    """Method, path below the mount point, query, headers by lower-case name, and the request's id.

    Later the bytes that were `received`, and the `key` of whoever asks.
    """

    method: str
    path: str
    query: str
    headers: dict[bytes, bytes]
    id: str
    body_read: bool = False
    received: int = 0
    key: str = ""

    def header(self, name: bytes) -> str:
        """The header's value, "" where there is none."""
        return self.headers.get(name, b"").decode("latin-1")


@dataclass(frozen=True, slots=True)
class Response:
    """Status, body, its type, and further headers."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)


def json_response(members: dict[str, Any], headers: dict[str, str] | None = None) -> Response:
    """An answer that no cache keeps."""
    return Response(200, to_json(members), headers={"cache-control": "no-store"} | (headers or {}))


def not_allowed(request: Request, allowed: str) -> Refusal:
    """405 with the methods that are allowed."""
    return Refusal(
        405,
        "method",
        "this method is not allowed here",
        found=request.method[:16],
        expected=allowed,
        headers={"allow": allowed},
    )


def id_of(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The request's id: one from outside is taken when it is short and plain, else one is made."""
    given = next((value for name, value in headers if name == b"x-request-id"), b"").decode("latin-1")
    return given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


def request_of(scope: Message) -> Request:
    """The request of an ASGI scope."""
    headers = dict(scope["headers"])
    root = scope.get("root_path", "")
    path = scope["path"]
    return Request(
        method=scope["method"],
        path=(path[len(root) :] if root and path.startswith(root) else path) or "/",
        query=scope.get("query_string", b"").decode("latin-1"),
        headers=headers,
        id=id_of(headers.items()),
    )


async def read_body(
    request: Request,
    receive: Receive,
    ticket: Ticket,
    *,
    limit: int,
    timeout_s: float,
    slow_s: float,
    bytes_per_s: float = 65536.0,
) -> bytes:
    """The whole body, once its headers are found good (Refusal 414, 415).

    Refusal 413 once more than `limit` bytes have come or are announced, 408 when it is slow.

    Slow is what brings less than `bytes_per_s` over `timeout_s`: a telephone may take its time for a whole song, a
    stranger that sends a byte now and then, or all but the last, may not. Refusal 429 when the replica holds too much
    already.
    """
    _check_head(request, limit)
    loop = asyncio.get_running_loop()
    slow = loop.call_later(slow_s, ticket.suspend)
    try:
        async with asyncio.timeout(timeout_s) as patience:
            chunks, size, lately = [], 0, 0
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGoneError
                chunk = message.get("body", b"")
                request.received = size = size + len(chunk)
                if size > limit:
                    raise _too_large(f"more than {limit} bytes", limit)
                if not ticket.hold(len(chunk)):
                    raise Refusal(429, "overloaded", "the service reads too much at once", retry_after_s=2)
                if chunk:
                    chunks.append(chunk)
                if not message.get("more_body", False):
                    request.body_read = True
                    return chunks[0] if len(chunks) == 1 else b"".join(chunks)
                lately += len(chunk)
                if lately >= bytes_per_s * timeout_s:
                    lately = 0
                    patience.reschedule(loop.time() + timeout_s)
    except TimeoutError as error:
        raise Refusal(
            408,
            "slow-body",
            "the request body was not complete in time",
            expected=f"the whole body within {timeout_s:g} s, or {bytes_per_s:g} bytes a second",
        ) from error
    finally:
        slow.cancel()


def _check_head(request: Request, limit: int) -> None:
    """What can be refused before a byte of the body has come."""
    if len(request.query) > _LONGEST_QUERY:
        found, expected = f"{len(request.query)} bytes", f"at most {_LONGEST_QUERY}"
        raise Refusal(414, "too-large", "the query is too long", found=found, expected=expected)
    coding = request.header(b"content-encoding").strip()
    if coding and coding.lower() != "identity":
        raise Refusal(
            415,
            "unsupported-media",
            "this content coding is not accepted",
            found=coding[:40],
            expected="a body as it is, without Content-Encoding",
            headers={"accept-encoding": "identity"},
        )
    announced = request.header(b"content-length")
    if not announced:
        return
    if not announced.isascii() or not announced.isdigit() or len(announced) > 18:
        raise Refusal(400, "malformed", "content-length is not a number", found=announced[:40])
    if int(announced) > limit:
        raise _too_large(f"{announced} bytes announced", limit)


def _too_large(found: str, limit: int) -> Refusal:
    return Refusal(413, "too-large", "the request body is too large", found=found, expected=f"at most {limit} bytes")


async def respond(request: Request, response: Response, receive: Receive, send: Send, *, with_id: bool) -> None:
    """Send the response. The rest of a large unread body is taken in for a moment, so that the client sees it."""
    unread = not request.body_read and request.method in ("POST", "PUT", "PATCH") and not _is_small(request)
    headers = [
        (b"content-type", response.content_type.encode()),
        (b"content-length", str(len(response.body)).encode()),
        *SAFE_HEADERS,
        *((name.encode("latin-1"), value.encode("latin-1")) for name, value in response.headers.items()),
    ]
    if with_id:
        headers.append((b"x-request-id", request.id.encode()))
    if unread:
        headers.append((b"connection", b"close"))
    body = b"" if request.method == "HEAD" else response.body
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    if unread and body:
        await send({"type": "http.response.body", "body": body, "more_body": True})
        await _drain(receive)
        body = b""
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _is_small(request: Request) -> bool:
    """A small announced body is skipped by the server itself, and the connection can be used again."""
    announced = request.header(b"content-length")
    return announced.isascii() and announced.isdigit() and len(announced) < 8 and int(announced) <= _SMALL_BODY


async def _drain(receive: Receive) -> None:
    """Closing at once would reset the connection, and a client that is still sending would never read why."""
    left = _DRAIN_BYTES
    try:
        async with asyncio.timeout(_DRAIN_S):
            while left > 0:
                message = await receive()
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    return
                left -= len(message.get("body", b""))
    except TimeoutError:
        return
