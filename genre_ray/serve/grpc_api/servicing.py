"""The methods of the service over gRPC: messages in and out, problems as status codes. Knows no deployments."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np

from genre_ray.schema import Track
from genre_ray.serve.admission import Admission
from genre_ray.serve.answers import ranked
from genre_ray.serve.backend import Backend
from genre_ray.serve.exchange import REQUEST_ID
from genre_ray.serve.feature_rows import features_from_json
from genre_ray.serve.gate import Gate
from genre_ray.serve.grpc_api.messages import METHODS, SERVICE, messages
from genre_ray.serve.problems import Refusal, problem_of
from genre_ray.serve.protocol import Inquiry, check_audio, check_figure, options_from
from genre_ray.serve.settings import ServeArgs

Method = Callable[[Any, str], Awaitable[Any]]

_CODES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    404: "NOT_FOUND",
    413: "INVALID_ARGUMENT",
    415: "INVALID_ARGUMENT",
    422: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


def add_to_server(servicer: Any, server: Any) -> None:
    """What `grpc_options.grpc_servicer_functions` names: tells Serve's proxy the service's methods."""
    import grpc  # type: ignore[import-untyped]  # no stubs here

    made = messages()
    handlers = {
        name: grpc.unary_unary_rpc_method_handler(
            getattr(servicer, name),
            request_deserializer=getattr(made, request).FromString,
            response_serializer=getattr(made, reply).SerializeToString,
        )
        for name, (request, reply) in METHODS.items()
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))


class Servicing:
    """Answers the three methods by a Backend. A refusal sets the status code of the call and raises."""

    def __init__(self, backend: Backend, args: ServeArgs, gate: Gate) -> None:
        self._backend = backend
        self._args = args
        self._gate = gate
        self._admission = Admission(places=args.limits.max_in_progress, readers=args.limits.max_readers)

    async def predict(self, request: Any, context: Any) -> Any:
        """A figure and its features."""
        return await self._answered(self._predict, request, context)

    async def predict_audio(self, request: Any, context: Any) -> Any:
        """A recording."""
        return await self._answered(self._predict_audio, request, context)

    async def _answered(self, method: Method, request: Any, context: Any) -> Any:
        """The reply of `method` within the limits that hold over HTTP: token, rate, places, time."""
        metadata = {key.lower(): value for key, value in context.invocation_metadata()}
        given = str(metadata.get("x-request-id", ""))
        request_id = given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        try:
            self._gate.admit(str(metadata.get("authorization", "")))
            ticket = self._admission.enter()
            if ticket is None:
                raise Refusal(429, "overloaded", "the service is at its limit")
            with ticket:
                return await method(request, request_id)
        except Exception as error:
            raise self._refused(error, context) from error

    async def _predict(self, request: Any, request_id: str) -> Any:
        limits = self._args.limits
        if len(request.figure) > limits.max_body_bytes:
            raise Refusal(
                413, "too-large", "the figure is too large", expected=f"at most {limits.max_body_bytes} bytes"
            )
        track = Track(
            id=request_id,
            figure=check_figure(request.figure, limits) if request.figure else None,
            features=features_from_json(list(request.features)) if len(request.features) else None,
        )
        options = options_from({"top_k": request.top_k or None})
        async with asyncio.timeout(limits.answer_timeout_s):
            answered = await self._backend.answer_figure(Inquiry(track, options), request_id)
        best = ranked(answered.prediction, options, tag_threshold=self._args.tag_threshold)
        score = float(np.max(answered.prediction.probabilities))
        unsure = answered.prediction.unsure
        return self._reply(answered.prediction.label, score, unsure, best, answered.version, request_id)

    async def _predict_audio(self, request: Any, request_id: str) -> Any:
        limits = self._args.limits
        track = Track(id=request_id, audio=check_audio(request.audio, limits))
        options = options_from({"top_k": request.top_k or None, "clip_s": request.clip_s or None})
        async with asyncio.timeout(limits.audio_timeout_s):
            members = await self._backend.answer_audio(Inquiry(track, options), request_id)
        best, unsure = members["predictions"], members["unsure"]
        return self._reply(members["label"], members["score"], unsure, best, members["version"], request_id)

    async def model(self, request: Any, context: Any) -> Any:
        """What the model is."""
        card = self._backend.card()
        return messages().ModelReply(name=self._args.name, version=card["version"], labels=card["labels"])

    def _reply(
        self, label: str, score: float, unsure: bool, best: list[dict[str, Any]], version: str, request_id: str
    ) -> Any:
        made = messages()
        return made.PredictReply(
            label=label,
            score=score,
            unsure=unsure,
            predictions=[made.LabelScore(**row) for row in best],
            model=self._args.name,
            version=version,
            request_id=request_id,
        )

    def _refused(self, error: Exception, context: Any) -> Exception:
        """The error after the call's status is set: what was found and expected, never a traceback."""
        import grpc

        problem = problem_of(error)
        parts = (problem.detail, problem.found and f"found: {problem.found}", problem.expected)
        context.set_code(getattr(grpc.StatusCode, _CODES.get(problem.status, "INTERNAL")))
        context.set_details("; ".join(part for part in parts if part))
        return error
