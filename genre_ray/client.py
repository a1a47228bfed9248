"""A typed client of the service, sync and async; tries again when the service says so. Knows nothing about Ray.

with Client("http://localhost:8000") as client:
print(client.predict_audio("track.mp3").label)
"""

import asyncio
import base64
import random
import time
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
from pydantic import BaseModel, ConfigDict

from genre_ray.errors import GenreRayError

Audio = str | Path | bytes
"""A path of a recording, or its bytes."""

Features = Mapping[str, float] | Sequence[float]
"""The 57 features by column name, or in the order of `genre_ray.schema.FEATURE_COLUMNS`."""

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


class _Asking:
    """What both clients share: how a question is put, and what an answer means."""

    def __init__(self, token: str | None, retries: int, longest_wait_s: float) -> None:
        self.headers = {"authorization": f"Bearer {token}"} if token else {}
        self._retries = retries
        self._longest_wait_s = longest_wait_s

    def wait_s(self, attempt: int, response: httpx.Response | None) -> float | None:
        """Seconds until the next try, None when there is none.

        Retry-After is honoured up to `longest_wait_s`; without one the wait doubles from half a second, with some
        chance in it, so that many clients do not come back together.
        """
        if attempt >= self._retries or (response is not None and response.status_code not in _TRANSIENT):
            return None
        asked_s = _seconds(response.headers.get("retry-after", "")) if response is not None else None
        if asked_s is not None:
            return asked_s if asked_s <= self._longest_wait_s else None
        return min(self._longest_wait_s, 0.5 * 2.0**attempt) * random.uniform(0.5, 1.0)  # noqa: S311 - no secret

    @staticmethod
    def figure(figure: Audio, features: Features, options: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments of a POST to /v1/predict."""
        import orjson

        row = dict(features) if isinstance(features, Mapping) else list(features)
        files = {"figure": ("figure", _bytes(figure)), "features": ("features", orjson.dumps(row), "application/json")}
        return {"url": "/v1/predict", "files": files, "params": _given(options)}

    @staticmethod
    def batch(items: Sequence[tuple[Audio, Features]]) -> dict[str, Any]:
        """Arguments of a POST to /v1/predict/batch."""
        rows = [
            {
                "figure": base64.b64encode(_bytes(figure)).decode(),
                "features": dict(features) if isinstance(features, Mapping) else list(features),
            }
            for figure, features in items
        ]
        return {"url": "/v1/predict/batch", "json": {"items": rows}}

    @staticmethod
    def audio(audio: Audio, options: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments of a POST to /v1/predict/audio."""
        headers = {"content-type": "application/octet-stream"}
        return {"url": "/v1/predict/audio", "content": _bytes(audio), "params": _given(options), "headers": headers}


def _seconds(retry_after: str) -> float | None:
    """Seconds that a Retry-After header asks for: a number, or a date (RFC 9110, section 10.2.3)."""
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after)
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except (TypeError, ValueError):
        return None


def _rows(document: dict[str, Any]) -> list[Prediction | ServiceError]:
    """The answer or the refusal of each item of a batch, in order."""
    shared = {"model": document["model"], "request_id": document["request_id"]}
    return [
        ServiceError(row["problem"]["status"], row["problem"])
        if "problem" in row
        else Prediction.model_validate(row | shared)
        for row in document["items"]
    ]


def _bytes(content: Audio) -> bytes:
    return content if isinstance(content, bytes) else Path(content).read_bytes()


def _given(options: Mapping[str, Any]) -> dict[str, str]:
    chosen = {name: value for name, value in options.items() if value not in (None, False)}
    return {name: "true" if value is True else str(value) for name, value in chosen.items()}


def _document(response: httpx.Response) -> dict[str, Any]:
    """The JSON of a good answer; ServiceError for any other."""
    try:
        document = response.json()
    except ValueError:
        document = {}
    if response.is_success and isinstance(document, dict):
        return document
    raise ServiceError(response.status_code, document if isinstance(document, dict) else {})


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
        self._asking = _Asking(token, retries, longest_wait_s)
        self._http = httpx.Client(
            base_url=url, headers=self._asking.headers, timeout=timeout_s, transport=transport, follow_redirects=False
        )

    def predict(
        self, figure: Audio, features: Features, *, top_k: int | None = None, threshold: float | None = None
    ) -> Prediction:
        """The genre of a spectrogram figure and its features. ServiceError, ServiceUnreachableError."""
        question = _Asking.figure(figure, features, {"top_k": top_k, "threshold": threshold})
        return Prediction.model_validate(self._post(question))

    def predict_batch(self, items: Sequence[tuple[Audio, Features]]) -> list[Prediction | ServiceError]:
        """The genre of each figure with its features; one that is refused is its ServiceError, in its place."""
        return _rows(self._post(_Asking.batch(items)))

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
        return Prediction.model_validate(self._post(_Asking.audio(audio, options)))

    def model(self) -> dict[str, Any]:
        """What the model is, and what the service accepts."""
        return _document(self._http.get("/v1/model"))

    def ready(self) -> bool:
        """Whether the service can answer now."""
        try:
            return self._http.get("/v2/health/ready").is_success
        except httpx.TransportError:
            return False

    def _post(self, question: dict[str, Any]) -> dict[str, Any]:
        attempt = 0
        while True:
            response, lost = None, None
            try:
                response = self._http.post(**question)
            except httpx.TransportError as error:
                lost = error
            wait_s = self._asking.wait_s(attempt, response)
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
        self._asking = _Asking(token, retries, longest_wait_s)
        self._http = httpx.AsyncClient(
            base_url=url, headers=self._asking.headers, timeout=timeout_s, transport=transport, follow_redirects=False
        )

    async def predict(
        self, figure: Audio, features: Features, *, top_k: int | None = None, threshold: float | None = None
    ) -> Prediction:
        """As `Client.predict`."""
        question = _Asking.figure(figure, features, {"top_k": top_k, "threshold": threshold})
        return Prediction.model_validate(await self._post(question))

    async def predict_batch(self, items: Sequence[tuple[Audio, Features]]) -> list[Prediction | ServiceError]:
        """As `Client.predict_batch`."""
        return _rows(await self._post(_Asking.batch(items)))

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
        return Prediction.model_validate(await self._post(_Asking.audio(audio, options)))

    async def model(self) -> dict[str, Any]:
        """As `Client.model`."""
        return _document(await self._http.get("/v1/model"))

    async def ready(self) -> bool:
        """As `Client.ready`."""
        try:
            return (await self._http.get("/v2/health/ready")).is_success
        except httpx.TransportError:
            return False

    async def _post(self, question: dict[str, Any]) -> dict[str, Any]:
        attempt = 0
        while True:
            response, lost = None, None
            try:
                response = await self._http.post(**question)
            except httpx.TransportError as error:
                lost = error
            wait_s = self._asking.wait_s(attempt, response)
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


def _finished(response: httpx.Response | None, lost: httpx.TransportError | None) -> dict[str, Any]:
    if response is not None:
        return _document(response)
    raise ServiceUnreachableError(
        "the service cannot be reached",
        found=str(lost) or type(lost).__name__,
        remedy="look whether it runs, and whether the address is right",
    ) from lost
