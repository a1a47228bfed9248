import asyncio
import base64
import json
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import httpx
import orjson
import pytest

from genre_ray.serve.engine import TOGETHER, Answered, Engine
from genre_ray.serve.gate import Gate
from genre_ray.serve.local import LocalBackend
from genre_ray.serve.protocol import Inquiry
from genre_ray.serve.settings import Limits, Security, ServeArgs
from genre_ray.serve.tokens import Tokens
from genre_ray.serve.web import WebApplication

Ask = Callable[..., httpx.Response]


def serving(application: WebApplication) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=application), base_url="http://service")


@pytest.fixture
def ask(client: httpx.AsyncClient) -> Ask:
    return lambda method, path, **more: asyncio.run(client.request(method, path, **more))


@pytest.fixture
def document(figure: bytes, features: dict[str, float]) -> dict[str, Any]:
    return {"figure": base64.b64encode(figure).decode(), "features": features}


def test_an_answer_has_every_probability_the_version_and_the_request_id(
    ask: Ask, document: dict[str, Any], engine: Engine
) -> None:
    response = ask("POST", "/v1/predict", json=document, headers={"x-request-id": "my-id"})
    answer = response.json()
    assert response.status_code == 200
    assert set(answer["probabilities"]) == set(engine.labels)
    assert sum(answer["probabilities"].values()) == pytest.approx(1.0, abs=1e-4)
    assert answer["label"] == max(answer["probabilities"], key=answer["probabilities"].get)
    assert answer["model"] == {"name": "genre", "version": engine.version}
    assert answer["request_id"] == response.headers["x-request-id"] == "my-id"
    stages = [stage.partition(";")[0] for stage in response.headers["server-timing"].split(", ")]
    assert stages == ["queue", "decode", "forward"]


def test_top_k_and_threshold_cut_the_list_and_not_the_probabilities(ask: Ask, document: dict[str, Any]) -> None:
    answer = ask("POST", "/v1/predict?top_k=3", json=document).json()
    assert len(answer["predictions"]) == 3
    assert len(answer["probabilities"]) == 10
    strict = ask("POST", "/v1/predict", json=document | {"threshold": 1.0}).json()
    assert strict["predictions"] == []


def test_explain_covers_every_piece_of_the_spectrogram(ask: Ask, document: dict[str, Any]) -> None:
    explanation = ask("POST", "/v1/predict?explain=true", json=document).json()["explanation"]
    assert len(explanation["map"]) == explanation["bands"]
    assert {len(row) for row in explanation["map"]} == {explanation["segments"]}


def test_one_bad_item_of_a_batch_has_a_problem_and_the_others_their_answers(ask: Ask, document: dict[str, Any]) -> None:
    items = [document | {"id": "a"}, {"id": "b", "figure": "AAAA"}, document | {"id": "c"}]
    answer = ask("POST", "/v1/predict/batch", json={"items": items}).json()
    assert [row["id"] for row in answer["items"]] == ["a", "b", "c"]
    assert answer["items"][1]["problem"]["status"] == 415
    assert answer["items"][0]["probabilities"] == answer["items"][2]["probabilities"]
    assert (answer["answered"], answer["failed"]) == (2, 1)
    assert answer["items"][0]["model"] == answer["model"]


def test_each_item_of_a_batch_names_the_model_that_answered_it(engine: Engine, document: dict[str, Any]) -> None:
    class Two(LocalBackend):
        async def answer_figure(self, inquiry: Inquiry, request_id: str) -> Answered:
            return replace(await super().answer_figure(inquiry, request_id), version=f"v-{inquiry.track.id}")

    def asked(*names: str) -> httpx.Response:
        items = [document | {"id": name} for name in names]
        client = serving(WebApplication(Two(engine), engine.args))
        return asyncio.run(client.post("/v1/predict/batch", json={"items": items}))

    one, two = asked("a", "a"), asked("a", "b")
    assert one.json()["model"]["version"] == one.headers["x-model-version"] == "v-a"
    assert two.json()["model"]["version"] == two.headers["x-model-version"] == "v-a, v-b"
    assert [row["model"]["version"] for row in two.json()["items"]] == ["v-a", "v-b"]


def test_a_figure_waits_for_a_few_items_of_batches_and_not_for_all(engine: Engine, document: dict[str, Any]) -> None:
    seen: list[str] = []

    class Slow(LocalBackend):
        async def answer_figure(self, inquiry: Inquiry, request_id: str) -> Answered:
            seen.append(request_id)
            return await super().answer_figure(inquiry, request_id)

    async def scene() -> None:
        client = serving(WebApplication(Slow(engine), engine.args))
        items = {"items": [document] * 40}
        named = [{"x-request-id": name} for name in ("batch-1", "batch-2", "figure")]
        batches = [asyncio.create_task(client.post("/v1/predict/batch", json=items, headers=h)) for h in named[:2]]
        while not seen:
            await asyncio.sleep(0)
        answer = await client.post("/v1/predict", json=document, headers=named[2])
        assert answer.status_code == 200
        before = len(seen)
        assert [(await batch).json()["answered"] for batch in batches] == [40, 40]
        assert before <= 4 * TOGETHER

    asyncio.run(scene())


def test_recordings_that_wait_leave_the_places_of_figures_free(engine: Engine, document: dict[str, Any]) -> None:
    class Waiting(LocalBackend):
        async def answer_audio(self, inquiry: Inquiry, request_id: str) -> dict[str, Any]:
            await asyncio.sleep(0.5)
            return {"version": "v", "predictions": []}

    limits = Limits(max_in_progress=2)
    application = WebApplication(Waiting(engine), engine.args.model_copy(update={"limits": limits}))

    async def scene() -> list[int]:
        client = serving(application)
        sound = b"fLaC" + bytes(60)
        recordings = [asyncio.create_task(client.post("/v1/predict/audio", content=sound)) for _ in range(3)]
        await asyncio.sleep(0.1)
        figure = await client.post("/v1/predict", json=document)
        return [figure.status_code, *sorted([(await recording).status_code for recording in recordings])]

    assert asyncio.run(scene()) == [200, 200, 200, 429]


def test_a_refused_checkpoint_is_told_to_strangers_without_its_place(engine: Engine, ask: Ask) -> None:
    assert ask("GET", "/v1/model").json()["refused"] is False
    engine.refused = {"checkpoint": "/srv/customer-x", "reason": "/srv/customer-x: damaged"}
    response = ask("GET", "/v1/model")
    assert response.json()["refused"] is True
    assert "customer-x" not in response.text


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/predict/batch", "/v1/predict/audio"])
def test_a_packed_body_is_refused_by_the_name_of_its_coding(ask: Ask, path: str) -> None:
    response = ask("POST", path, content=b"x", headers={"content-encoding": "gzip"})
    assert (response.status_code, response.json()["found"]) == (415, "gzip")
    assert response.headers["accept-encoding"] == "identity"
    assert ask("POST", path, content=b"", headers={"content-encoding": "identity"}).json()["found"] != "identity"


def test_the_list_for_hugging_face_computes_nothing_that_it_does_not_answer(ask: Ask) -> None:
    response = ask("POST", "/v1/audio-classification?explain=1&over_time=1", content=b"fLaC" + bytes(60))
    assert (response.status_code, response.json()["found"]) == (422, "explain, over_time")
    assert "function_to_apply" in response.json()["expected"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/v1/nothing", 404),
        ("POST", "/v1/nothing", 404),
        ("POST", "/v1/predict/", 404),
        ("POST", "/v2xyz", 404),
        ("POST", "/v2/models/genre/infer", 404),
        ("POST", "/v2/models/genre", 405),
        ("GET", "/v1/predict", 405),
        ("DELETE", "/v1/model", 405),
        ("OPTIONS", "/v1/predict", 405),
        ("POST", "/", 405),
        ("GET", "/static/../../settings.py", 404),
        ("GET", "/static/%2e%2e/settings.py", 404),
    ],
)
def test_what_is_not_there_is_a_problem_document(ask: Ask, method: str, path: str, status: int) -> None:
    response = ask(method, path)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["status"] == status
    assert response.json()["request_id"] == response.headers["x-request-id"]


@pytest.mark.parametrize(
    "path",
    ["/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/genre", "/v2/models/genre/ready", "/v1/model"],
)
def test_health_and_metadata_answer(ask: Ask, path: str) -> None:
    assert ask("GET", path).status_code == 200
    assert ask("HEAD", path).content == b""


def test_model_metadata_follows_the_open_inference_protocol(ask: Ask, engine: Engine) -> None:
    found = ask("GET", "/v2/models/genre").json()
    assert found["versions"] == [engine.version]
    kinds = {tensor["name"]: tensor["datatype"] for tensor in found["inputs"]}
    assert kinds == {"spectrogram": "UINT8", "features": "FP64"}
    assert found["outputs"][0]["shape"] == [-1, 10]
    assert ask("GET", f"/v2/models/genre/versions/{engine.version}/ready").json()["ready"]


def test_a_body_that_is_announced_too_large_is_refused_unread(ask: Ask) -> None:
    response = ask("POST", "/v1/predict", content=b"", headers={"content-length": str(10**9)})
    assert response.status_code == 413
    assert "1000000000" in response.json()["found"]


def test_a_body_without_a_length_is_counted(engine: Engine) -> None:
    args = engine.args.model_copy(update={"limits": Limits(max_body_bytes=2048)})
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(1000):
            sent += 1024
            yield b"x" * 1024

    response = asyncio.run(serving(WebApplication(LocalBackend(engine), args)).post("/v1/predict", content=endless()))
    assert response.status_code == 413


@pytest.mark.parametrize("announced", ["-1", "abc", "1e3", "٣"])
def test_a_length_that_is_no_number_is_400(engine: Engine, announced: str) -> None:
    status, _ = asyncio.run(raw(WebApplication(LocalBackend(engine), engine.args), [], announced.encode()))
    assert status == 400


async def raw(application: WebApplication, chunks: list[bytes], length: bytes = b"") -> tuple[int, bytes]:
    """One POST by hand; when the chunks are used up nothing more ever comes."""
    sent: list[Any] = []
    waiting = list(chunks)

    async def receive() -> dict[str, Any]:
        if not waiting:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": waiting.pop(0), "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"content-length", length)] if length else []
    scope = {"type": "http", "method": "POST", "path": "/v1/predict", "headers": headers, "query_string": b""}
    await application(scope, receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])


def test_a_body_that_never_ends_is_408(engine: Engine) -> None:
    args = engine.args.model_copy(update={"limits": Limits(body_timeout_s=0.05)})
    status, body = asyncio.run(raw(WebApplication(LocalBackend(engine), args), [b"abc"]))
    assert status == 408
    assert orjson.loads(body)["type"].endswith("#slow-body")


def test_slow_bodies_hold_no_place(engine: Engine, document: dict[str, Any]) -> None:
    limits = Limits(max_in_progress=1, slow_body_s=0.02, body_timeout_s=5.0)
    application = WebApplication(LocalBackend(engine), engine.args.model_copy(update={"limits": limits}))

    async def scene() -> int:
        slow = [asyncio.create_task(raw(application, [b"x"])) for _ in range(8)]
        statuses = []
        for _ in range(8):
            await asyncio.sleep(0.05)
            statuses.append((await serving(application).post("/v1/predict", json=document)).status_code)
        for task in slow:
            task.cancel()
        return statuses[-1]

    assert asyncio.run(scene()) == 200


def test_beyond_its_places_the_service_refuses_with_429_and_a_time(engine: Engine, document: dict[str, Any]) -> None:
    limits = Limits(max_in_progress=2)
    application = WebApplication(LocalBackend(engine), engine.args.model_copy(update={"limits": limits}))

    async def burst() -> list[httpx.Response]:
        client = serving(application)
        return await asyncio.gather(*(client.post("/v1/predict", json=document) for _ in range(8)))

    responses = asyncio.run(burst())
    refused = [response for response in responses if response.status_code == 429]
    assert {response.status_code for response in responses} == {200, 429}
    assert len(refused) == 6
    assert all(int(response.headers["retry-after"]) >= 1 for response in refused)
    assert application.admission.in_progress == application.admission.readers == 0


def test_without_the_token_nothing_is_answered_but_health_and_pages(engine: Engine, document: dict[str, Any]) -> None:
    application = WebApplication(
        LocalBackend(engine),
        engine.args,
        gate=Gate(engine.args.security, Tokens(["correct horse battery"]), token_required=True),
    )

    async def scene() -> list[httpx.Response]:
        client = serving(application)
        given = ({}, {"authorization": "Bearer wrong"}, {"authorization": "Bearer correct horse battery"})
        found = [await client.post("/v1/predict", json=document, headers=headers) for headers in given]
        return [*found, await client.get("/v2/health/ready")]

    responses = asyncio.run(scene())
    assert [response.status_code for response in responses] == [401, 401, 200, 200]
    assert responses[0].headers["www-authenticate"].startswith("Bearer")


def test_a_key_that_asks_too_often_is_refused(engine: Engine, document: dict[str, Any]) -> None:
    args = engine.args.model_copy(update={"security": Security(rate_limit_per_s=0.001, rate_burst=2)})

    async def scene() -> list[int]:
        client = serving(WebApplication(LocalBackend(engine), args))
        return [(await client.post("/v1/predict", json=document)).status_code for _ in range(3)]

    assert asyncio.run(scene()) == [200, 200, 429]


def test_a_failure_of_ours_is_500_without_its_text_and_is_logged(
    args: ServeArgs, document: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(LocalBackend):
        def __init__(self) -> None:
            self.version_asked = 0

        @property
        def version(self) -> str:
            return "0"

        async def answer_figure(self, inquiry: Any, request_id: str) -> Any:
            raise ZeroDivisionError("secret")

    with caplog.at_level(logging.ERROR):
        response = asyncio.run(serving(WebApplication(Broken(), args)).post("/v1/predict", json=document))
    assert response.status_code == 500
    assert "secret" not in response.text
    assert response.json()["request_id"] in caplog.text


def test_a_request_id_from_outside_must_be_short_and_plain(ask: Ask) -> None:
    response = ask("GET", "/v1/model", headers={"x-request-id": "a" * 65})
    assert response.headers["x-request-id"] != "a" * 65


def test_every_answer_is_guarded_against_sniffing_and_framing(ask: Ask) -> None:
    for path in ("/", "/v1/model", "/nothing"):
        headers = ask("GET", path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert "access-control-allow-origin" not in headers


def test_the_page_may_load_nothing_from_elsewhere(ask: Ask) -> None:
    page = ask("GET", "/")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "http" not in policy
    assert "unsafe" not in policy


def test_an_asset_that_the_browser_has_is_not_sent_again(ask: Ask) -> None:
    tag = ask("GET", "/openapi.json").headers["etag"]
    again = ask("GET", "/openapi.json", headers={"if-none-match": tag})
    assert (again.status_code, again.content) == (304, b"")
    assert ask("GET", "/openapi.json", headers={"if-none-match": "*"}).status_code == 304


def test_json_and_multipart_get_the_same_answer(
    ask: Ask, figure: bytes, features: dict[str, float], document: dict[str, Any]
) -> None:
    by_json = ask("POST", "/v1/predict", json=document).json()
    by_form = ask(
        "POST", "/v1/predict", files={"figure": ("track.png", figure)}, data={"features": json.dumps(features)}
    ).json()
    assert by_form["probabilities"] == by_json["probabilities"]
