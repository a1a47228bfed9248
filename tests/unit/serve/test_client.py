import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest

from genre_ray.client import (
    AsyncClient,
    Client,
    Prediction,
    ServiceError,
    ServiceUnreachableError,
    UnreadableAnswerError,
)
from genre_ray.errors import ConfigError, FeatureError
from genre_ray.serve.engine import Engine
from genre_ray.serve.local import LocalBackend
from genre_ray.serve.web import WebApplication


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    taken: list[float] = []

    async def nap(seconds: float) -> None:
        taken.append(seconds)

    monkeypatch.setattr("genre_ray.client.time.sleep", taken.append)
    monkeypatch.setattr("genre_ray.client.asyncio.sleep", nap)
    return taken


Answer = Callable[[httpx.Request], httpx.Response]


def answering(*answers: httpx.Response | Exception) -> tuple[Answer, list[httpx.Request]]:
    left, asked = list(answers), []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        found = left.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    return answer, asked


GOOD = {
    "label": "jazz", "score": 0.9, "unsure": False, "predictions": [{"label": "jazz", "score": 0.9}],
    "probabilities": {"jazz": 0.9, "rock": 0.1}, "model": {"name": "genre", "version": "1"}, "request_id": "r",
    "a field of a newer service": 1,
}  # fmt: skip


def test_retry_after_is_honoured(naps: list[float]) -> None:
    answer, asked = answering(httpx.Response(429, headers={"retry-after": "3"}), httpx.Response(200, json=GOOD))
    with Client(transport=httpx.MockTransport(answer)) as client:
        assert client.predict_audio(b"x").label == "jazz"
    assert naps == [3.0]
    assert len(asked) == 2


def test_the_async_client_waits_and_answers_alike(naps: list[float]) -> None:
    lost = httpx.ConnectError("gone")
    answer, _ = answering(httpx.Response(503, headers={"retry-after": "1"}), lost, httpx.Response(200, json=GOOD))

    async def scene() -> str:
        async with AsyncClient(transport=httpx.MockTransport(answer)) as client:
            return (await client.predict_audio(b"x", top_k=1)).label

    assert asyncio.run(scene()) == "jazz"
    assert naps[0] == 1.0
    assert 0.5 <= naps[1] <= 1.0


def test_what_cannot_get_better_is_not_tried_again(naps: list[float]) -> None:
    problem = {
        "detail": "the file is not audio",
        "found": "25 50",
        "expected": "mp3",
        "type": "/docs#unsupported-media",
    }
    answer, asked = answering(httpx.Response(415, json=problem))
    with (
        Client(transport=httpx.MockTransport(answer)) as client,
        pytest.raises(ServiceError, match="not audio") as refused,
    ):
        client.predict_audio(b"%P")
    assert refused.value.status == 415
    assert refused.value.expected == "mp3"
    assert naps == []
    assert len(asked) == 1


def test_a_retry_after_that_is_a_date_is_honoured(naps: list[float]) -> None:
    then = format_datetime(datetime.now(UTC) + timedelta(seconds=5), usegmt=True)
    answer, _ = answering(httpx.Response(503, headers={"retry-after": then}), httpx.Response(200, json=GOOD))
    with Client(transport=httpx.MockTransport(answer)) as client:
        client.predict_audio(b"x")
    assert 3.0 < naps[0] <= 5.0


def test_a_wait_beyond_the_longest_gives_up_at_once(naps: list[float]) -> None:
    answer, _ = answering(httpx.Response(429, headers={"retry-after": "3600"}, json={"detail": "busy"}))
    with Client(transport=httpx.MockTransport(answer)) as client, pytest.raises(ServiceError, match="busy"):
        client.predict_audio(b"x")
    assert naps == []


def test_an_unreachable_service_is_said_to_be_unreachable(naps: list[float]) -> None:
    answer, asked = answering(*[httpx.ConnectError("refused")] * 3)
    with Client(transport=httpx.MockTransport(answer), retries=2) as client, pytest.raises(ServiceUnreachableError):
        client.predict_audio(b"x")
    assert len(asked) == 3


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        ({"threshold": 0.0, "top_k": 0}, "threshold=0.0&top_k=0"),
        ({"over_time": False, "explain": True}, "explain=true"),
        ({"clip_s": 1.0, "top_k": None}, "clip_s=1.0"),
    ],
)
def test_only_what_is_none_or_off_is_left_out(options: dict[str, Any], sent: str) -> None:
    answer, asked = answering(httpx.Response(200, json=GOOD))
    with Client(transport=httpx.MockTransport(answer)) as client:
        client.predict_audio(b"x", **options)
    assert sorted(asked[0].url.query.decode().split("&")) == sent.split("&")


NUMBERS = [0.5, 1.0]
ROWS: list[Any] = [
    NUMBERS, tuple(NUMBERS), np.array(NUMBERS), np.array(NUMBERS, np.float32), [np.float16(0.5), np.int64(1)],
    pd.Series(NUMBERS), {"a": 0.5, "b": 1.0}, {"a": np.float32(0.5), "b": np.int8(1)},
    pd.Series({"a": 0.5, "b": 1.0}), pd.DataFrame({"a": [0.5], "b": [1]}).iloc[0],
]  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=lambda row: type(row).__name__)
def test_rows_of_any_numbers_are_sent_as_json_one_by_one_and_in_a_batch(row: Any) -> None:
    batch = {"model": GOOD["model"], "request_id": "r", "items": []}
    answer, asked = answering(httpx.Response(200, json=GOOD), httpx.Response(200, json=batch))
    with Client(transport=httpx.MockTransport(answer)) as client:
        client.predict(b"x", row)
        client.predict_batch([(b"x", row)])
    form, body = asked[0].content, json.loads(asked[1].content)
    sent = json.loads(form.split(b"application/json\r\n\r\n")[1].split(b"\r\n--")[0])
    assert sent == body["items"][0]["features"]
    named = isinstance(row, dict) or (isinstance(row, pd.Series) and "a" in row)
    assert sent == ({"a": 0.5, "b": 1.0} if named else [0.5, 1.0])
    assert asked[1].headers["content-type"] == "application/json"


def test_a_row_that_holds_no_numbers_is_refused_in_words() -> None:
    with Client() as client, pytest.raises(FeatureError, match="complex"):
        client.predict(b"x", [1j])  # type: ignore[list-item]  # what is tested


def test_the_models_description_is_asked_for_as_patiently_as_a_prediction(naps: list[float]) -> None:
    lost = httpx.ConnectError("gone")
    answer, asked = answering(lost, httpx.Response(503), httpx.Response(200, json={"labels": ["jazz"]}))
    with Client(transport=httpx.MockTransport(answer)) as client:
        assert client.model() == {"labels": ["jazz"]}
    assert len(naps) == 2
    assert {request.method for request in asked} == {"GET"}


def test_a_model_that_cannot_be_reached_is_the_clients_own_error(naps: list[float]) -> None:
    async def scene() -> None:
        answer, _ = answering(*[httpx.ConnectError("refused")] * 2)
        async with AsyncClient(transport=httpx.MockTransport(answer), retries=1) as client:
            await client.model()

    with pytest.raises(ServiceUnreachableError, match="refused"):
        asyncio.run(scene())
    assert len(naps) == 1


@pytest.mark.parametrize("url", ["localhost:8000", "127.0.0.1:8000", "", "ftp://localhost", "http://", "http://[::1"])
@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_an_address_that_is_no_http_is_refused_at_once(url: str, kind: type[Client | AsyncClient]) -> None:
    with pytest.raises(ConfigError, match="http://"):
        kind(url)


@pytest.mark.parametrize(
    "response",
    [
        httpx.ReadError("cut short"),
        httpx.DecodingError("not gzip"),
        httpx.Response(200, json={"label": "jazz"}),
        httpx.Response(200, json=[1]),
        httpx.Response(200, content=b"<html>"),
    ],
)
def test_an_answer_that_cannot_be_read_is_the_clients_own_error(
    response: httpx.Response | Exception, naps: list[float]
) -> None:
    answer, _ = answering(*[response] * 5)
    expected = ServiceUnreachableError if isinstance(response, httpx.ReadError) else UnreadableAnswerError
    with Client(transport=httpx.MockTransport(answer)) as client:
        with pytest.raises(expected):
            client.predict_audio(b"x")
        assert len(naps) == (4 if isinstance(response, httpx.ReadError) else 0)


def test_a_batch_that_cannot_be_read_is_the_clients_own_error_too() -> None:
    answer, _ = answering(httpx.Response(200, json={"items": [{}]}))
    with Client(transport=httpx.MockTransport(answer)) as client, pytest.raises(UnreadableAnswerError):
        client.predict_batch([])


def test_the_client_and_the_service_understand_each_other(
    engine: Engine, figure: bytes, features: dict[str, float]
) -> None:
    transport: Any = httpx.ASGITransport(app=WebApplication(LocalBackend(engine), engine.args))

    async def scene() -> None:
        async with AsyncClient("http://service", transport=transport) as client:
            by_name = await client.predict(figure, features, top_k=2)
            by_order = await client.predict(figure, list(features.values()))
            assert by_name.model.version == engine.version
            assert by_name.probabilities == by_order.probabilities
            assert len(by_name.predictions) == 2
            assert await client.ready()
            good, bad = await client.predict_batch([(figure, features), (b"GIF89a", list(features.values()))])
            assert isinstance(good, Prediction)
            assert good.probabilities == by_name.probabilities
            assert isinstance(bad, ServiceError)
            assert bad.status == 415
            assert (await client.model())["labels"] == list(engine.labels)
            with pytest.raises(ServiceError) as refused:
                await client.predict(b"GIF89a", features)
            assert refused.value.status == 415

    asyncio.run(scene())
