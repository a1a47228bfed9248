"""The static side of the service: the page, its script and style, and the documentation. Knows nothing about Ray.

Everything comes from the package; nothing is fetched from anywhere else, and a content security policy says so.
"""

import hashlib
from dataclasses import dataclass
from importlib import resources
from typing import Self

from genre_ray.serve.exchange import Response

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; "
    "connect-src 'self'; worker-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_TYPES = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
}
_PLACES = {"index.html": "/", "favicon.svg": "/favicon.ico", "robots.txt": "/robots.txt"}


@dataclass(frozen=True, slots=True)
class Asset:
    """Bytes, their type, and an entity tag by which a browser need not fetch them again."""

    content: bytes
    content_type: str
    tag: str

    @classmethod
    def of(cls, content: bytes, content_type: str) -> Self:
        """An asset with the tag of its content."""
        return cls(content, content_type, f'"{hashlib.sha256(content).hexdigest()[:16]}"')

    def response(self, if_none_match: str) -> Response:
        """200, or 304 when the browser has it already."""
        headers = {"etag": self.tag, "cache-control": "no-cache", "content-security-policy": _POLICY}
        if self.tag in if_none_match:
            return Response(304, b"", self.content_type, headers)
        headers["permissions-policy"] = "microphone=(self), camera=(), geolocation=()"
        return Response(200, self.content, self.content_type, headers)


def assets() -> dict[str, Asset]:
    """Path to asset for every file in `page/`."""
    found = {}
    for file in resources.files("genre_ray.serve").joinpath("page").iterdir():
        suffix = file.name.rpartition(".")[2]
        if file.is_file() and suffix in _TYPES:
            asset = Asset.of(file.read_bytes(), _TYPES[suffix])
            found[_PLACES.get(file.name, f"/static/{file.name}")] = asset
    return found
