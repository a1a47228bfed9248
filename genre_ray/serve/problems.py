"""Errors as RFC 9457 problem documents: status, what was found, what is accepted. Knows nothing about servers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from genre_ray.errors import (
    AudioError,
    CatalogError,
    CheckpointError,
    ConfigError,
    FeatureError,
    FigureError,
    GenreRayError,
    NotFittedError,
    RunError,
    SplitError,
    TrackError,
)

CONTENT_TYPE = "application/problem+json"
TYPE_PREFIX = "/docs#"
"""Each problem's `type` is a fragment of the service's own documentation."""

TITLES: dict[str, str] = {
    "malformed": "The request cannot be parsed",
    "unauthorised": "A bearer token is required",
    "not-found": "There is nothing at this path",
    "method": "This method is not allowed here",
    "slow-body": "The request body came too slowly",
    "too-large": "The request is larger than the service accepts",
    "unsupported-media": "This kind of content is not accepted",
    "invalid": "The content cannot be used",
    "unusable-figure": "The figure cannot be used",
    "unusable-audio": "The audio cannot be used",
    "unusable-features": "The features cannot be used",
    "rate-limit": "Too many requests with this key",
    "overloaded": "The service is at its limit",
    "not-ready": "The service is not ready",
    "timeout": "The answer took too long",
    "internal": "The service failed",
}
"""Slug to title; the documentation page has one paragraph for each."""

_TOO_LARGE_KINDS = frozenset({"too_large", "too_long", "too_many_pixels", "limit"})
_MEDIA_KINDS = frozenset({"unknown_format", "unsupported", "format"})


class Refusal(GenreRayError):
    """A request that is not answered: HTTP status, slug of `TITLES`, and for 429 and 503 when to come again."""

    def __init__(
        self,
        status: int,
        slug: str,
        message: str,
        *,
        found: str | None = None,
        expected: str | None = None,
        remedy: str | None = None,
        kind: str | None = None,
        retry_after_s: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, found=found, expected=expected, remedy=remedy)
        self.kind = kind
        self.status = status
        self.slug = slug
        self.retry_after_s = retry_after_s
        self.headers = dict(headers or {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A problem document and the status and headers that it travels with."""

    status: int
    slug: str
    detail: str
    found: str | None = None
    expected: str | None = None
    remedy: str | None = None
    kind: str | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def to_json(self, *, request_id: str, **more: Any) -> bytes:
        """The document with the request's id; `more` adds members, None leaves one out."""
        members = self.members(request_id=request_id) | more
        return orjson.dumps({name: value for name, value in members.items() if value is not None})

    def refusal(self) -> Refusal:
        """The problem as an error again, after it came from another process."""
        return Refusal(
            self.status,
            self.slug,
            self.detail,
            found=self.found,
            expected=self.expected,
            remedy=self.remedy,
            kind=self.kind,
            headers=self.headers,
        )

    def members(self, *, request_id: str | None = None) -> dict[str, Any]:
        """Members of the document (RFC 9457, section 3.1, then our own)."""
        members = {
            "type": TYPE_PREFIX + self.slug,
            "title": TITLES[self.slug],
            "status": self.status,
            "detail": self.detail,
            "found": self.found,
            "expected": self.expected,
            "remedy": self.remedy,
            "kind": self.kind,
            "request_id": request_id,
        }
        return {name: value for name, value in members.items() if value is not None}


def problem_of(error: BaseException) -> Problem:
    """What a client is told about `error`. Anything that is not ours becomes a 500 without its text."""
    if isinstance(error, Refusal):
        return _from_refusal(error)
    if isinstance(error, TrackError):
        return _from_track(error)
    if isinstance(error, CheckpointError | NotFittedError | RunError):
        return Problem(
            status=503,
            slug="not-ready",
            detail="the service has no usable model at the moment",
            headers={"retry-after": "5"},
        )
    if isinstance(error, ConfigError | CatalogError | SplitError):
        return Problem(status=422, slug="invalid", detail=_clean(error.message), **_explained(error))
    if isinstance(error, TimeoutError):
        return Problem(status=504, slug="timeout", detail="no answer within the time limit of the service")
    return Problem(status=500, slug="internal", detail="the failure is logged under this request id")


def _from_refusal(error: Refusal) -> Problem:
    headers = dict(error.headers)
    if error.retry_after_s is not None:
        headers["retry-after"] = str(error.retry_after_s)
    return Problem(
        status=error.status,
        slug=error.slug,
        detail=_clean(error.message),
        kind=error.kind,
        headers=headers,
        **_explained(error),
    )


def _from_track(error: TrackError) -> Problem:
    status, slug = 422, "invalid"
    if isinstance(error, AudioError):
        slug = "unusable-audio"
    elif isinstance(error, FigureError):
        slug = "unusable-figure"
    elif isinstance(error, FeatureError):
        slug = "unusable-features"
    if error.kind in _TOO_LARGE_KINDS:
        status, slug = 413, "too-large"
    elif error.kind in _MEDIA_KINDS:
        status, slug = 415, "unsupported-media"
    return Problem(status=status, slug=slug, detail=_clean(error.message), kind=error.kind, **_explained(error))


def _explained(error: GenreRayError) -> dict[str, Any]:
    parts = {"found": error.found, "expected": error.expected, "remedy": error.remedy}
    return {name: _clean(text) for name, text in parts.items() if text}


def _clean(text: str, longest: int = 400) -> str:
    """Printable and short: what a client sent comes back in messages, and must not fill a log or a terminal."""
    shown = "".join(c if c.isprintable() else " " for c in text)
    return shown if len(shown) <= longest else shown[: longest - 3] + "..."
