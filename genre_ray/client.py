"""A typed client of the service, sync and async; tries again when the service says so. Knows nothing about Ray.

with Client("http://localhost:8000") as client:
print(client.predict_audio("track.mp3").label)
"""

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Self

import httpx
from pydantic import BaseModel, ConfigDict, ValidationError

from genre_ray import question
from genre_ray.errors import ConfigError, GenreRayError
from genre_ray.question import Audio, Features

_TRANSIENT = frozenset({429, 502, 503, 504})


class _Answer(BaseModel):
    """Fields that this client does not know are kept, so that a newer service stays usable."""

    model_config = ConfigDict(frozen=True, extra="allow")


class LabelScore(_Answer):
    """A label and its probability."""

    label: str
    score: float


class Course(_Answer):
    """The genres' course: a row of probabilities for each window of `window_s` seconds, in the order of the labels."""

    window_s: float
    start_s: list[float]
    probabilities: list[list[float]]


class Model(_Answer):
    """Which model answered."""

    name: str
    version: str


class Prediction(_Answer):
    """The answer for one track."""

    label: str
    score: float
    unsure: bool
    predictions: list[LabelScore]
    probabilities: dict[str, float]
    model: Model
    request_id: str
    over_time: Course | None = None
    explanation: dict[str, Any] | None = None


class ServiceError(GenreRayError):
    """The service refused: `status` and `problem`, its problem document (RFC 9457), {} where it sent none."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        super().__init__(
            str(problem.get("detail") or f"the service answered {status}"),
            found=problem.get("found"),
            expected=problem.get("expected"),
            remedy=problem.get("remedy"),
        )
        self.status = status
        self.problem = dict(problem)


class ServiceUnreachableError(GenreRayError):
    """No answer came over the network, however often it was tried."""


class UnreadableAnswerError(GenreRayError):
    """An answer came that is none of this service: garbled, or without the fields that it needs."""


class _Asking:
    """What both clients share: whether to try again, and when."""

    def __init__(self, url: str, token: str | None, retries: int, longest_wait_s: float) -> None:
        _require_http(url)
        self.headers = {"authorization": f"Bearer {token}"} if token else {}
        self._retries = retries
        self._longest_wait_s = longest_wait_s

    def wait_s(self, attempt: int, response: httpx.Response | None, lost: httpx.RequestError | None) -> float | None:
        """Seconds until the next try, None when there is none.

        Retry-After is honoured up to `longest_wait_s`; without one the wait doubles from half a second, with some
        chance in it, so that many clients do not come back together.
        """
        transient = isinstance(lost, httpx.TransportError) if response is None else response.status_code in _TRANSIENT
        if attempt >= self._retries or not transient:
            return None
        asked_s = _seconds(response.headers.get("retry-after", "")) if response is not None else None
        if asked_s is not None:
            return asked_s if asked_s <= self._longest_wait_s else None
        return min(self._longest_wait_s, 0.5 * 2.0**attempt) * random.uniform(0.5, 1.0)  # noqa: S311 - no secret


def _require_http(url: str) -> None:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        parsed = httpx.URL()
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ConfigError(
            "that is no address of a service", found=url or "nothing", expected="http://host:port or https://host:port"
        )


def _seconds(retry_after: str) -> float | None:
    """Seconds that a Retry-After header asks for: a number, or a date (RFC 9110, section 10.2.3)."""
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after)
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except (TypeError, ValueError):
        return None


def _prediction(document: dict[str, Any]) -> Prediction:
    try:
        return Prediction.model_validate(document)
    except ValidationError as error:
        raise _unreadable(f"no {'.'.join(map(str, error.errors()[0]['loc']))} in it as it should be") from error


def _rows(document: dict[str, Any]) -> list[Prediction | ServiceError]:
    """The answer or the refusal of each item of a batch, in order."""
    try:
        shared = {"model": document["model"], "request_id": document["request_id"]}
        return [
            ServiceError(row["problem"]["status"], row["problem"]) if "problem" in row else _prediction(shared | row)
            for row in document["items"]
        ]
    except (KeyError, TypeError) as error:
        raise _unreadable(f"{type(error).__name__}: {error}") from error


def _finished(response: httpx.Response | None, lost: httpx.RequestError | None) -> dict[str, Any]:
    """The JSON of a good answer; ServiceError for a refusal, ServiceUnreachableError, UnreadableAnswerError."""
    if isinstance(lost, httpx.TransportError):
        raise ServiceUnreachableError(
            "the service cannot be reached",
            found=str(lost) or type(lost).__name__,
            remedy="look whether it runs, and whether the address is right",
        ) from lost
    if response is None:
        raise _unreadable(str(lost)) from lost
    try:
        document = response.json()
    except ValueError:
        document = None
    if not response.is_success:
        raise ServiceError(response.status_code, document if isinstance(document, dict) else {})
    if not isinstance(document, dict):
        raise _unreadable(response.text[:80])
    return document


def _unreadable(found: str) -> UnreadableAnswerError:
    return UnreadableAnswerError(
        "the answer cannot be read",
        found=found,
        expected="JSON as the service sends it",
        remedy="look whether the address is the service's own",
    )


class Client:
    """Asks the service at `url`; closes its connections at the end of a `with` block.

    `retries` are further tries after 429, 502, 503, 504 and lost connections. A question changes nothing in the
    service, so that asking twice is safe.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        *,
        token: str | None = None,
        timeout_s: float = 60.0,
        retries: int = 4,
        longest_wait_s: float = 30.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._asking = _Asking(url, token, retries, longest_wait_s)
        self._http = httpx.Client(
            base_url=url, headers=self._asking.headers, timeout=timeout_s, transport=transport, follow_redirects=False
        )

    def predict(
        self, figure: Audio, features: Features, *, top_k: int | None = None, threshold: float | None = None
    ) -> Prediction:
        """The genre of a spectrogram figure and its features. ServiceError, ServiceUnreachableError."""
        asked = question.figure(figure, features, {"top_k": top_k, "threshold": threshold})
        return _prediction(self._ask(asked))

    def predict_batch(self, items: Sequence[tuple[Audio, Features]]) -> list[Prediction | ServiceError]:
        """The genre of each figure with its features; one that is refused is its ServiceError, in its place."""
        return _rows(self._ask(question.batch(items)))

    def predict_audio(
        self,
        audio: Audio,
        *,
        top_k: int | None = None,
        threshold: float | None = None,
        clip_s: float | None = None,
        over_time: bool = False,
        explain: bool = False,
    ) -> Prediction:
        """The genre of a recording. ServiceError, ServiceUnreachableError."""
        options = {
            "top_k": top_k, "threshold": threshold, "clip_s": clip_s, "over_time": over_time, "explain": explain,
        }  # fmt: skip
        return _prediction(self._ask(question.audio(audio, options)))

    def model(self) -> dict[str, Any]:
        """What the model is, and what the service accepts."""
        return self._ask(question.model())

    def ready(self) -> bool:
        """Whether the service can answer now."""
        try:
            return self._http.get("/v2/health/ready").is_success
        except httpx.RequestError:
            return False

    def _ask(self, asked: dict[str, Any]) -> dict[str, Any]:
        attempt = 0
        while True:
            response, lost = None, None
            try:
                response = self._http.request(**asked)
            except httpx.RequestError as error:
                lost = error
            wait_s = self._asking.wait_s(attempt, response, lost)
            if wait_s is None:
                return _finished(response, lost)
            time.sleep(wait_s)
            attempt += 1

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncClient:
    """`Client` for asyncio: the same methods, to be awaited, and `async with`."""

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        *,
        token: str | None = None,
        timeout_s: float = 60.0,
        retries: int = 4,
        longest_wait_s: float = 30.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._asking = _Asking(url, token, retries, longest_wait_s)
        self._http = httpx.AsyncClient(
            base_url=url, headers=self._asking.headers, timeout=timeout_s, transport=transport, follow_redirects=False
        )

    async def predict(
        self, figure: Audio, features: Features, *, top_k: int | None = None, threshold: float | None = None
    ) -> Prediction:
        """As `Client.predict`."""
        asked = question.figure(figure, features, {"top_k": top_k, "threshold": threshold})
        return _prediction(await self._ask(asked))

    async def predict_batch(self, items: Sequence[tuple[Audio, Features]]) -> list[Prediction | ServiceError]:
        """As `Client.predict_batch`."""
        return _rows(await self._ask(question.batch(items)))

    async def predict_audio(
        self,
        audio: Audio,
        *,
        top_k: int | None = None,
        threshold: float | None = None,
        clip_s: float | None = None,
        over_time: bool = False,
        explain: bool = False,
    ) -> Prediction:
        """As `Client.predict_audio`."""
        options = {
            "top_k": top_k, "threshold": threshold, "clip_s": clip_s, "over_time": over_time, "explain": explain,
        }  # fmt: skip
        return _prediction(await self._ask(question.audio(audio, options)))

    async def model(self) -> dict[str, Any]:
        """As `Client.model`."""
        return await self._ask(question.model())

    async def ready(self) -> bool:
        """As `Client.ready`."""
        try:
            return (await self._http.get("/v2/health/ready")).is_success
        except httpx.RequestError:
            return False

    async def _ask(self, asked: dict[str, Any]) -> dict[str, Any]:
        attempt = 0
        while True:
            response, lost = None, None
            try:
                response = await self._http.request(**asked)
            except httpx.RequestError as error:
                lost = error
            wait_s = self._asking.wait_s(attempt, response, lost)
            if wait_s is None:
                return _finished(response, lost)
            await asyncio.sleep(wait_s)
            attempt += 1

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
