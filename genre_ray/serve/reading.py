"""Everything that takes no body: page, documents, health, and the metadata of the Open Inference Protocol.

Knows nothing about Ray or how questions are answered.
"""

from collections.abc import Callable

from genre_ray.serve import openapi, pages
from genre_ray.serve.backend import Backend
from genre_ray.serve.exchange import Request, Response, json_response, not_allowed
from genre_ray.serve.problems import Refusal
from genre_ray.serve.settings import ServeArgs

About = Callable[[Request], Response]
"""What tells of the model or the service."""


class Reader:
    """Answers GET and HEAD."""

    def __init__(self, backend: Backend, args: ServeArgs) -> None:
        self._backend = backend
        self._name = args.name
        self._assets = pages.assets() | openapi.assets(args)
        model = f"/v2/models/{args.name}"
        self._abouts: dict[str, About] = {
            "/v1/model": self._card,
            "/v2": self._server,
            "/v2/health/live": self._live,
            "/v2/health/ready": self._ready,
            model: self._metadata,
            f"{model}/ready": self._ready,
        }

    def answer(self, request: Request) -> Response:
        """The document at the request's path; Refusal 404, 405, or 503 while the model is not warm."""
        found = self._found(request.path)
        if request.method not in ("GET", "HEAD"):
            raise not_allowed(request, "GET, HEAD")
        return found(request)

    def _found(self, path: str) -> About:
        asset = self._assets.get(path)
        if asset is not None:
            return lambda request: _unless_known(asset, request.header(b"if-none-match"))
        return self._abouts.get(path) or self._about_a_version(path)

    def _about_a_version(self, path: str) -> About:
        """The metadata and readiness of the version that answers now; Refusal 404 for any other path."""
        start, backend = f"/v2/models/{self._name}/versions/", self._backend
        if path.startswith(start) and backend.ready:
            if path == start + backend.version:
                return self._metadata
            if path == f"{start}{backend.version}/ready":
                return self._ready
        raise Refusal(404, "not-found", "there is nothing at this path", remedy="GET /docs lists the paths")

    def _live(self, _: Request) -> Response:
        return json_response({"live": True})

    def _ready(self, _: Request) -> Response:
        if not self._backend.ready:
            raise Refusal(503, "not-ready", "the model is not warm yet", retry_after_s=2)
        return json_response({"name": self._name, "ready": True})

    def _server(self, _: Request) -> Response:
        return json_response(openapi.server_metadata())

    def _metadata(self, _: Request) -> Response:
        return json_response(openapi.model_metadata(self._name, self._backend.card()))

    def _card(self, request: Request) -> Response:
        return json_response(self._backend.card() | {"name": self._name, "request_id": request.id})


def _unless_known(asset: pages.Asset, given: str) -> Response:
    """The asset, or 304 by its tag or by `*`, which is any (RFC 9110, section 13.1.2)."""
    return asset.response(asset.tag if given.strip() == "*" else given)
