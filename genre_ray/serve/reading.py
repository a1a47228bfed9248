"""Everything that takes no body: page, documents, health, and the metadata of the Open Inference Protocol.

Knows nothing about Ray or how questions are answered.
"""

from genre_ray.serve import openapi, pages
from genre_ray.serve.backend import Backend
from genre_ray.serve.exchange import Request, Response, json_response, not_allowed
from genre_ray.serve.problems import Refusal
from genre_ray.serve.settings import ServeArgs


class Reader:
    """Answers GET and HEAD."""

    def __init__(self, backend: Backend, args: ServeArgs) -> None:
        self._backend = backend
        self._name = args.name
        self._assets = pages.assets() | openapi.assets(args)

    def answer(self, request: Request) -> Response:
        """The document at the request's path; Refusal 404, 405, or 503 while the model is not warm."""
        found = self._assets.get(request.path)
        if found is None and not request.path.startswith(("/v1/", "/v2")):
            raise _nothing()
        if request.method not in ("GET", "HEAD"):
            raise not_allowed(request, "GET, HEAD")
        if found is not None:
            return found.response(request.header(b"if-none-match"))
        return self._about_the_model(request)

    def _about_the_model(self, request: Request) -> Response:
        """Health, readiness and metadata as in the Open Inference Protocol, version 2."""
        name, backend = self._name, self._backend
        model = f"/v2/models/{name}"
        models = (model, f"{model}/versions/{backend.version if backend.ready else ''}")
        if request.path == "/v2/health/live":
            return json_response({"live": True})
        if request.path in ("/v2/health/ready", *(f"{path}/ready" for path in models)):
            if not backend.ready:
                raise Refusal(503, "not-ready", "the model is not warm yet", retry_after_s=2)
            return json_response({"name": name, "ready": True})
        if request.path == "/v2":
            return json_response(openapi.server_metadata())
        if request.path in models:
            return json_response(openapi.model_metadata(name, backend.card()))
        if request.path == "/v1/model":
            return json_response(backend.card() | {"name": name, "request_id": request.id})
        raise _nothing()


def _nothing() -> Refusal:
    return Refusal(404, "not-found", "there is nothing at this path", remedy="GET /docs lists the paths")
