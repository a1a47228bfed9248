"""The methods of the service over gRPC: messages in and out, problems as status codes. Knows no deployments."""

from typing import Any

import numpy as np

from genre_ray.schema import Track
from genre_ray.serve.answers import ranked
from genre_ray.serve.backend import Backend
from genre_ray.serve.feature_rows import features_from_json
from genre_ray.serve.grpc_api.messages import METHODS, SERVICE, messages
from genre_ray.serve.problems import Refusal, problem_of
from genre_ray.serve.protocol import Inquiry, check_audio, check_figure, options_from
from genre_ray.serve.settings import ServeArgs
from genre_ray.serve.tokens import Tokens

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

    def __init__(self, backend: Backend, args: ServeArgs, tokens: Tokens, *, token_required: bool) -> None:
        self._backend = backend
        self._args = args
        self._tokens = tokens
        self._token_required = token_required

    async def predict(self, request: Any, context: Any) -> Any:
        """A figure and its features."""
        try:
            self._authorise(context)
            track = Track(
                id="grpc",
                figure=check_figure(request.figure, self._args.limits) if request.figure else None,
                features=features_from_json(list(request.features)) if len(request.features) else None,
            )
            options = options_from({"top_k": request.top_k or None})
            answered = await self._backend.answer_figure(Inquiry(track, options), track.id)
            best = ranked(answered.prediction, options, tag_threshold=self._args.tag_threshold)
            score = float(np.max(answered.prediction.probabilities))
            unsure = answered.prediction.unsure
            return self._reply(answered.prediction.label, score, unsure, best, answered.version, track.id)
        except Exception as error:
            raise self._refused(error, context) from error

    async def predict_audio(self, request: Any, context: Any) -> Any:
        """A recording."""
        try:
            self._authorise(context)
            track = Track(id="grpc", audio=check_audio(request.audio, self._args.limits))
            options = options_from({"top_k": request.top_k or None, "clip_s": request.clip_s or None})
            members = await self._backend.answer_audio(Inquiry(track, options), track.id)
            best, unsure = members["predictions"], members["unsure"]
            return self._reply(members["label"], members["score"], unsure, best, members["version"], track.id)
        except Exception as error:
            raise self._refused(error, context) from error

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

    def _authorise(self, context: Any) -> None:
        if not self._token_required:
            return
        metadata = {key.lower(): value for key, value in context.invocation_metadata()}
        if self._tokens.key_of(str(metadata.get("authorization", ""))) is None:
            raise Refusal(401, "unauthorised", "this service asks for a bearer token in the metadata authorization")

    def _refused(self, error: Exception, context: Any) -> Exception:
        """The error after the call's status is set: what was found and expected, never a traceback."""
        import grpc

        problem = problem_of(error)
        parts = (problem.detail, problem.found and f"found: {problem.found}", problem.expected)
        context.set_code(getattr(grpc.StatusCode, _CODES.get(problem.status, "INTERNAL")))
        context.set_details("; ".join(part for part in parts if part))
        return error
