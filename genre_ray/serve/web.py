"""The service as an ASGI application: routes, refusals, answers with the model's version and the request's id.

Runs under Serve, under any ASGI server, and in a test without one. Knows nothing about Ray.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from genre_ray.serve import answers, protocol
from genre_ray.serve.admission import Admission, Turns
from genre_ray.serve.backend import Backend
from genre_ray.serve.engine import TOGETHER, Answered
from genre_ray.serve.exchange import (
    ClientGoneError,
    Message,
    Receive,
    Request,
    Response,
    Send,
    json_response,
    not_allowed,
    read_body,
    request_of,
    respond,
)
from genre_ray.serve.gate import Gate
from genre_ray.serve.problems import CONTENT_TYPE, Refusal, problem_of
from genre_ray.serve.protocol import Inquiry, Options
from genre_ray.serve.reading import Reader
from genre_ray.serve.settings import Limits, ServeArgs

logger = logging.getLogger(__name__)

Handler = Callable[[Request, bytes], Awaitable[Response]]


class Telemetry(Protocol):
    """Where figures about requests go."""

    def finished(self, request: Request, route: str, response: Response, seconds: float) -> None:
        """A request was answered or refused; `route` is its path where that is known, else "other"."""

    def answered(self, answered: Answered) -> None:
        """A figure was answered: stages, label, drift."""


@dataclass(frozen=True, slots=True)
class Route:
    """A path that takes a body: what answers it and how large the body may be."""

    handler: Handler
    limit: int
    kind: Literal["figure", "audio", "batch"]
    admission: Admission


class WebApplication:
    """ASGI callable over a Backend."""

    def __init__(
        self,
        backend: Backend,
        args: ServeArgs,
        *,
        gate: Gate | None = None,
        telemetry: Telemetry | None = None,
        adds_request_id: bool = True,
    ) -> None:
        self._backend = backend
        self._args = args
        self._gate = gate or Gate(args.security)
        self._telemetry = telemetry
        self._adds_request_id = adds_request_id
        limits = args.limits
        self.admission, self.audio_admission = _admission(limits), _admission(limits)
        self._turns = Turns()
        self._items = asyncio.Semaphore(_items_at_once(args))
        self._reader = Reader(backend, args)
        figures, recordings = self.admission, self.audio_admission
        in_base64 = limits.max_audio_bytes * 4 // 3 + 65536
        self._posts = {
            "/v1/predict": Route(self._predict, limits.max_body_bytes, "figure", figures),
            "/v1/predict/audio": Route(self._predict_audio, in_base64, "audio", recordings),
            "/v1/predict/batch": Route(self._predict_batch, limits.max_batch_bytes, "batch", figures),
            "/v1/audio-classification": Route(self._audio_classification, in_base64, "audio", recordings),
        }

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1003})
            return
        start = time.perf_counter()
        request = request_of(scope)
        try:
            response = await self._answer(request, receive)
        except ClientGoneError:
            self._note_gone(request, start)
            return
        except Exception as error:
            response = self._problem(request, error)
        response.headers.setdefault("x-model-version", self._backend.version)
        await respond(request, response, receive, send, with_id=self._adds_request_id)
        if self._telemetry is not None:
            route = request.path if request.path in self._posts else "other"
            self._telemetry.finished(request, route, response, time.perf_counter() - start)

    def _note_gone(self, request: Request, start: float) -> None:
        """Nobody is left to be answered; 499 is what proxies call that."""
        if self._telemetry is not None:
            route = request.path if request.path in self._posts else "other"
            self._telemetry.finished(request, route, Response(499, b""), time.perf_counter() - start)

    async def _answer(self, request: Request, receive: Receive) -> Response:
        route = self._posts.get(request.path)
        if route is None:
            return self._reader.answer(request)
        if request.method != "POST":
            raise not_allowed(request, "POST")
        request.key = self._gate.admit(request.header(b"authorization"))
        ticket = route.admission.enter()
        if ticket is None:
            raise _overloaded(route.admission)
        with ticket:
            limits = self._args.limits
            body = await read_body(
                request,
                receive,
                ticket,
                limit=route.limit,
                timeout_s=limits.body_timeout_s,
                slow_s=limits.slow_body_s,
                bytes_per_s=limits.body_bytes_per_s,
            )
            if not ticket.body_read():
                raise _overloaded(route.admission)
            start = time.perf_counter()
            response = await self._in_time(route, request, body)
            route.admission.took(time.perf_counter() - start)
            return response

    async def _in_time(self, route: Route, request: Request, body: bytes) -> Response:
        limits = self._args.limits
        seconds = limits.answer_timeout_s if route.kind == "figure" else limits.audio_timeout_s
        try:
            async with asyncio.timeout(seconds):
                return await route.handler(request, body)
        except TimeoutError as error:
            raise Refusal(
                504, "timeout", "no answer within the time limit of the service", expected=f"{seconds:g} s"
            ) from error

    async def _predict(self, request: Request, body: bytes) -> Response:
        answered = await self._figure(request, body)
        members = self._members(answered, request)
        headers = {"server-timing": _server_timing(answered.stages), "x-model-version": answered.version}
        return json_response(members, headers)

    async def _figure(self, request: Request, body: bytes) -> Answered:
        inquiry = protocol.inquiry_from_request(
            body,
            request.header(b"content-type"),
            kind="figure",
            accepted=protocol.FIGURE_OPTIONS,
            query=request.query,
            limits=self._args.limits,
            name=request.id,
        )
        return await self._answered(inquiry, request)

    async def _answered(self, inquiry: Inquiry, request: Request) -> Answered:
        start = time.perf_counter()
        answered = await self._backend.answer_figure(inquiry, request.id)
        took = time.perf_counter() - start
        answered.stages["queue"] = max(0.0, took - sum(answered.stages.values()))
        if self._telemetry is not None:
            self._telemetry.answered(answered)
        return answered

    async def _predict_audio(self, request: Request, body: bytes) -> Response:
        inquiry = self._audio_inquiry(request, body, protocol.AUDIO_OPTIONS)
        members = await self._backend.answer_audio(inquiry, request.id)
        timing, version = _server_timing(members.pop("stages", {})), members.pop("version", "")
        headers = {"server-timing": timing, "x-model-version": version}
        return json_response(members | self._stamp(request, version), headers)

    async def _audio_classification(self, request: Request, body: bytes) -> Response:
        """Hugging Face's shape: a bare list, so that version and id travel in headers."""
        inquiry = self._audio_inquiry(request, body, protocol.LIST_OPTIONS)
        members = await self._backend.answer_audio(inquiry, request.id)
        headers = {"x-model-version": str(members["version"])}
        return Response(200, answers.to_json(members["predictions"]), headers=headers)

    def _audio_inquiry(self, request: Request, body: bytes, accepted: Collection[str]) -> Inquiry:
        return protocol.inquiry_from_request(
            body,
            request.header(b"content-type"),
            kind="audio",
            accepted=accepted,
            query=request.query,
            limits=self._args.limits,
            name=request.id,
        )

    async def _predict_batch(self, request: Request, body: bytes) -> Response:
        """An answer or a problem for each item, in order."""
        async with self._turns:
            items, names = protocol.batch_from_request(
                body, request.header(b"content-type"), query=request.query, limits=self._args.limits
            )
        rows = await asyncio.gather(*(self._row(item, name, request) for item, name in zip(items, names, strict=True)))
        failed = sum("problem" in row for row in rows)
        members = {"items": rows, "answered": len(rows) - failed, "failed": failed}
        versions = {row["model"]["version"] for row in rows if "model" in row}
        version = ", ".join(sorted(versions)) or self._backend.version  # two when one is exchanged meanwhile
        return json_response(members | self._stamp(request, version), {"x-model-version": version})

    async def _row(self, item: Inquiry | Exception, name: str, request: Request) -> dict[str, Any]:
        try:
            if isinstance(item, Exception):
                raise item
            async with self._items:
                await asyncio.sleep(0)  # whatever answers at once, the loop goes round between
                answered = await self._answered(item, request)
            return {"id": name} | self._prediction(answered, item.options) | {"model": self._model(answered.version)}
        except Exception as error:
            self._log_if_ours(request, error)
            return {"id": name, "problem": problem_of(error).members()}

    def _members(self, answered: Answered, request: Request) -> dict[str, Any]:
        options = answered.options
        return self._prediction(answered, options) | self._stamp(request, answered.version)

    def _prediction(self, answered: Answered, options: Options) -> dict[str, Any]:
        return prediction_of_answer(answered, options, self._args)

    def _stamp(self, request: Request, version: str) -> dict[str, Any]:
        return {"model": self._model(version), "request_id": request.id}

    def _model(self, version: str) -> dict[str, str]:
        return {"name": self._args.name, "version": version}

    def _problem(self, request: Request, error: Exception) -> Response:
        self._log_if_ours(request, error)
        problem = problem_of(error)
        body = problem.to_json(request_id=request.id, instance=request.path[:200])
        return Response(problem.status, body, CONTENT_TYPE, problem.headers)

    def _log_if_ours(self, request: Request, error: BaseException) -> None:
        if problem_of(error).status == 500:
            logger.error("request %s to %s failed", request.id, request.path[:200], exc_info=error)


def _admission(limits: Limits) -> Admission:
    """Places for requests of one kind: figures, or recordings. Neither can take the other's places or memory."""
    return Admission(places=limits.max_in_progress, readers=limits.max_readers, max_held=limits.max_held_bytes // 2)


def _overloaded(admission: Admission) -> Refusal:
    return Refusal(
        429,
        "overloaded",
        "the service is at its limit",
        found=f"{admission.in_progress} requests in progress",
        remedy="send the request again after the time in Retry-After",
        retry_after_s=admission.retry_after_s,
    )


def _items_at_once(args: ServeArgs) -> int:
    """Items of all batches that wait beside the figures of others: what fills one pass, so that these come next."""
    gathered = args.device == "cuda" or args.batching.when == "always"
    return args.batching.max_batch_size if gathered else TOGETHER


def prediction_of_answer(answered: Answered, options: Options, args: ServeArgs) -> dict[str, Any]:
    """The members of an answer that do not depend on the request."""
    members = answers.prediction_members(answered.prediction, options, tag_threshold=args.tag_threshold)
    if options.over_time and answered.course:
        members["over_time"] = answers.course_members(answered.course, answered.course_window_s)
    if options.explain and answered.explanation is not None:
        members["explanation"] = answered.explanation
    return members


def _server_timing(stages: dict[str, float]) -> str:
    """Stages in milliseconds (W3C Server Timing), in the order in which they came."""
    ordered = sorted(stages.items(), key=lambda stage: stage[0] != "queue")
    return ", ".join(f"{name};dur={seconds * 1000:.2f}" for name, seconds in ordered)


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
