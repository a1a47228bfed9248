"""Bounds that a stranger's request runs into: queries, pictures and recordings that are dear, bodies, keys, gRPC."""

import asyncio
import io
import itertools
import json
import runpy
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson
import pytest
import soundfile
import yaml
from PIL import Image

from genre_ray.errors import AudioError, FigureError
from genre_ray.schema import SAMPLE_RATE, Track
from genre_ray.serve import edge, guard, protocol, sniffing
from genre_ray.serve.accesslog import AccessLog
from genre_ray.serve.admission import Admission
from genre_ray.serve.engine import Engine
from genre_ray.serve.exchange import Request, Response, read_body
from genre_ray.serve.gate import Gate
from genre_ray.serve.grpc_api import messages as grpc_messages
from genre_ray.serve.grpc_api.servicing import Servicing
from genre_ray.serve.local import LocalBackend
from genre_ray.serve.problems import TITLES, Refusal, problem_of
from genre_ray.serve.protocol import Options
from genre_ray.serve.settings import Limits, ServeArgs
from genre_ray.serve.web import WebApplication

ROOT = Path(__file__).parents[3]
attacks: Any = runpy.run_path(str(ROOT / "tests/e2e/serve/attacks.py"))


def test_a_query_of_many_fields_is_malformed_and_no_failure_of_ours() -> None:
    query = "&".join(f"a{i}=1" for i in range(33))
    with pytest.raises(Refusal, match="too many fields") as refused:
        protocol.inquiry_from_request(b"fLaC" + bytes(60), "audio/flac", kind="audio", query=query)
    assert refused.value.status == 400


def test_a_query_that_is_too_long_is_414_and_never_cut(engine: Engine, args: ServeArgs) -> None:
    async def scene() -> httpx.Response:
        transport = httpx.ASGITransport(app=WebApplication(LocalBackend(engine), args))
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            return await client.post(f"/v1/predict?top_k={'0' * 2048}1", content=b"{}")

    response = asyncio.run(scene())
    assert (response.status_code, response.json()["found"]) == (414, "2055 bytes")


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP", b"tEXt", b"eXIf", b"fdAT"])
def test_what_inflates_beside_the_pixels_is_refused_unread(kind: bytes, figure: bytes) -> None:
    note = attacks["chunk"](kind, bytes(sniffing.MAX_BESIDE + 1))
    with pytest.raises(FigureError, match="too long to decode") as refused:
        protocol.check_figure(figure[:33] + note + figure[33:], Limits())
    assert problem_of(refused.value).status == 413
    small = attacks["chunk"](kind, bytes(1000))
    assert protocol.check_figure(figure[:33] + small + figure[33:], Limits())


def test_pictures_of_thousands_of_pieces_are_refused(figure: bytes) -> None:
    chunks = figure[:33] + attacks["chunk"](b"IDAT", b"") * 2000 + figure[33:]
    for content in (chunks, attacks["jpeg_of"](432, 288, 500)):
        with pytest.raises(FigureError, match="too long to decode"):
            protocol.check_figure(content, Limits())
    progressive = io.BytesIO()
    Image.open(io.BytesIO(figure)).convert("RGB").save(progressive, "JPEG", progressive=True)
    assert protocol.check_figure(progressive.getvalue(), Limits())


def recording(seconds: float, seed: int = 0) -> bytes:
    content = io.BytesIO()
    values = np.random.default_rng(seed).normal(0, 0.1, int(seconds * SAMPLE_RATE)).astype(np.float32)
    soundfile.write(content, values, SAMPLE_RATE, format="WAV", subtype="FLOAT")
    return content.getvalue()


def limited(engine: Engine, **limits: Any) -> Engine:
    engine.args = engine.args.model_copy(update={"limits": Limits(**limits)})
    return engine


def test_more_windows_than_the_limit_are_refused(engine: Engine) -> None:
    with pytest.raises(AudioError, match="found: 8 windows; expected: at most 4") as refused:
        limited(engine, max_windows=4).answer(Track(id="t", audio=recording(8)), Options(clip_s=1.0))
    assert problem_of(refused.value).status == 413


def test_too_many_windows_are_refused_before_anything_is_decoded(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genre_ray.decoding._libsndfile_blocks", lambda sound: iter(lambda: pytest.fail("read"), None))
    with pytest.raises(AudioError, match="found: 40 windows; expected: at most 30"):
        limited(engine, max_windows=30).answer(
            Track(id="t", audio=attacks["sound"]("OGG", seconds=40)), Options(clip_s=1.0)
        )


def test_features_have_a_time_limit_of_their_own(engine: Engine) -> None:
    engine.answer(Track(id="t", audio=recording(4)), Options())
    with pytest.raises(AudioError, match=r"features, after \d+ windows; expected: at most 0.1 s") as refused:
        limited(engine, features_cpu_s=0.1).answer(Track(id="t", audio=recording(60)), Options(clip_s=1.0))
    assert problem_of(refused.value).status == 413


def test_a_figure_of_a_batch_is_no_larger_than_one_sent_alone(engine: Engine, figure: bytes) -> None:
    track = Track(id="t", figure=figure + bytes(2000), features=np.zeros(57))
    with pytest.raises(FigureError, match="larger than the limit") as refused:
        limited(engine, max_body_bytes=len(figure)).answer(track, Options())
    assert problem_of(refused.value).status == 413


def test_a_recording_that_takes_the_processor_too_long_is_refused(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.answer(Track(id="t", audio=recording(4)), Options())
    monkeypatch.setattr("genre_ray.serve.engine.time.thread_time", itertools.count(0, 60).__next__)
    with pytest.raises(AudioError, match="processor time") as refused:
        engine.answer(Track(id="t", audio=recording(4)), Options())
    assert problem_of(refused.value).status == 413


def test_a_window_is_judged_as_if_it_had_been_sent_alone(engine: Engine) -> None:
    """Ten seconds stretched over the picture of thirty would be judged as something else."""
    whole = recording(24)
    samples, _ = soundfile.read(io.BytesIO(whole), dtype="float32")
    content = io.BytesIO()
    soundfile.write(content, samples[5 * SAMPLE_RATE : 15 * SAMPLE_RATE], SAMPLE_RATE, format="WAV", subtype="FLOAT")
    course = engine.answer(Track(id="t", audio=whole), Options(over_time=True)).course
    alone = engine.answer(Track(id="t", audio=content.getvalue()), Options()).prediction
    assert course[1].start_s == 5.0
    np.testing.assert_allclose(course[1].probabilities, alone.probabilities, atol=1e-6)


def test_the_stages_of_a_recording_are_told_apart(engine: Engine) -> None:
    assert set(engine.answer(Track(id="t", audio=recording(3)), Options()).stages) == {"decode", "features", "forward"}


def reading(chunks: list[tuple[float, bytes]], admission: Admission, **limits: Any) -> bytes:
    """The body that comes as `chunks`, each after its pause."""
    request = Request("POST", "/", "", {}, "id")

    async def scene() -> bytes:
        left = list(chunks)

        async def receive() -> dict[str, Any]:
            pause, chunk = left.pop(0)
            await asyncio.sleep(pause)
            return {"type": "http.request", "body": chunk, "more_body": bool(left)}

        ticket = admission.enter()
        assert ticket is not None
        with ticket:
            return await read_body(request, receive, ticket, limit=10**9, slow_s=9.0, **limits)

    return asyncio.run(scene())


def test_a_telephone_may_take_its_time_and_a_dribble_may_not() -> None:
    admission = Admission(places=4, readers=4)
    steady = [(0.05, b"x" * 1000)] * 8
    assert len(reading(steady, admission, timeout_s=0.2, bytes_per_s=10_000.0)) == 8000
    dribble = [(0.05, b"x")] * 8
    all_but_the_last = [(0.0, b"x" * 100_000), (0.5, b"x")]
    for slow in (dribble, all_but_the_last):
        with pytest.raises(Refusal) as refused:
            reading(slow, admission, timeout_s=0.2, bytes_per_s=10_000.0)
        assert refused.value.status == 408


def test_all_bodies_together_hold_so_much_and_no_more() -> None:
    admission = Admission(places=4, readers=4, max_held=1500)
    with pytest.raises(Refusal) as refused:
        reading([(0.0, b"x" * 1000)] * 2, admission, timeout_s=5.0)
    assert (refused.value.status, refused.value.retry_after_s) == (429, 2)
    assert admission.held == 0
    assert len(reading([(0.0, b"x" * 1000)], admission, timeout_s=5.0)) == 1000


class Context:
    def __init__(self, **metadata: str) -> None:
        self.metadata = metadata
        self.code: Any = None

    def invocation_metadata(self) -> list[tuple[str, str]]:
        return [(name.replace("_", "-"), value) for name, value in self.metadata.items()]

    def set_code(self, code: Any) -> None:
        self.code = code

    def set_details(self, details: str) -> None:
        pass


def test_over_grpc_the_same_limits_hold_and_each_call_has_its_id(
    engine: Engine, figure: bytes, features: dict[str, float]
) -> None:
    args = engine.args.model_copy(update={"limits": Limits(max_body_bytes=len(figure))})
    servicing = Servicing(LocalBackend(engine), args, Gate(args.security))
    made = grpc_messages.messages()
    good = made.PredictRequest(figure=figure, features=list(features.values()))
    assert asyncio.run(servicing.predict(good, Context(x_request_id="mine"))).request_id == "mine"
    ids = {asyncio.run(servicing.predict(good, Context())).request_id for _ in range(3)}
    assert len(ids) == 3, "a candidate's share is drawn by the id"
    context = Context()
    with pytest.raises(Refusal, match="too large"):
        asyncio.run(servicing.predict(made.PredictRequest(figure=figure + b"\0"), context))
    assert context.code.name == "INVALID_ARGUMENT"


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "127.0.0.1:9000"),
        ("localhost", "localhost:9000"),
        ("::1", "[::1]:9000"),
        ("0.0.0.0", "[::]:9000"),
        (None, "[::]:9000"),
    ],
)
def test_grpc_listens_where_http_does(host: str | None, address: str) -> None:
    assert edge.grpc_address(host, "9000") == address


def test_the_access_log_is_json_a_line_each_and_begins_anew_when_full(tmp_path: Path) -> None:
    log = AccessLog(tmp_path / "access.log", largest=400)
    for i in range(3):
        log.add(request_id=str(i), path="/" + "x" * 1000 + '\n"', status=200)
        log.flush()
    lines = [json.loads(line) for line in (tmp_path / "access.log.1").read_text().splitlines()]
    assert [line["request_id"] for line in lines] == ["0", "1"]
    assert len(lines[0]["path"]) == 200
    log.add(request_id="late")
    time.sleep(1.3)
    assert "late" in (tmp_path / "access.log").read_text(), "it is written though nobody flushes"


def test_a_log_that_cannot_be_written_costs_a_warning_and_no_request(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = AccessLog(tmp_path / "missing" / "access.log")
    log.add(request_id="1")
    log.flush()
    assert "1 lines of the access log are lost" in caplog.text


def test_figures_about_a_request_name_its_key_and_bytes_and_nothing_of_its_content(
    engine: Engine, args: ServeArgs, figure: bytes
) -> None:
    seen: list[tuple[Request, str, Response]] = []

    class Telemetry:
        def finished(self, request: Request, route: str, response: Response, seconds: float) -> None:
            seen.append((request, route, response))

        def answered(self, answered: Any) -> None:
            pass

    application = WebApplication(LocalBackend(engine), args, telemetry=Telemetry())

    async def scene() -> None:
        transport = httpx.ASGITransport(app=application)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            await client.post("/v1/predict", content=b"{}")
            await client.get("/v2/health/ready")

    asyncio.run(scene())
    (first, route, response), (_, other, second) = seen
    assert (route, response.status, first.received, first.key) == ("/v1/predict", 415, 2, "anyone")
    assert other == "other"
    assert response.headers["x-model-version"] == second.headers["x-model-version"] == engine.version


def test_what_haproxy_says_by_itself_is_a_problem_of_ours(tmp_path: Path) -> None:
    assert {slug: TITLES[slug] for slug in guard._TITLES} == guard._TITLES
    guard.write_pages(tmp_path)
    pages = sorted(tmp_path.iterdir())
    assert pages
    for page in pages:
        head, _, body = page.read_bytes().partition(b"\r\n\r\n")
        assert f"Content-Length: {len(body)}".encode() in head
        assert orjson.loads(body)["status"] == int(head.split()[1])


@pytest.mark.parametrize("path", sorted((ROOT / "serve_configs").glob("*.yaml")), ids=lambda path: path.name)
def test_every_node_lays_the_guard_and_knows_how_much_a_replica_holds(path: Path) -> None:
    from ray._private import ray_constants

    document = yaml.safe_load(path.read_text())
    environment = document["controller_options"]["runtime_env"]["env_vars"]
    hook = environment[ray_constants.WORKER_PROCESS_SETUP_HOOK_ENV_VAR]
    assert hook == f"{guard.prepare_process.__module__}.{guard.prepare_process.__qualname__}"
    limits = ServeArgs.model_validate(document["applications"][0]["args"]).limits
    assert int(environment.get(guard.MAX_IN_PROGRESS, "16")) == limits.max_in_progress


def test_the_image_gives_pods_the_fast_way_and_the_guard() -> None:
    """What `serve_configs/` says to one Serve, the image says to all pods; the guard is laid while it is built."""
    dockerfile = (ROOT / "cluster/Dockerfile").read_text()
    document = yaml.safe_load((ROOT / "serve_configs/hybrid.yaml").read_text())
    for name, value in document["controller_options"]["runtime_env"]["env_vars"].items():
        if name in ("RAY_SERVE_HAPROXY_NBTHREAD", "__RAY_WORKER_PROCESS_SETUP_HOOK_ENV_VAR"):
            continue  # a pod has other cores; the guard needs no hook there
        assert f"{name}={value.replace('${HOME}', '/home/ray')}" in dockerfile
    assert "guard.install()" in dockerfile


def test_a_guard_that_is_there_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(guard.BINARY, str(tmp_path / "haproxy"))
    monkeypatch.setattr(guard, "real_haproxy", lambda: "/bin/true")
    guard.prepare_process()
    before = (tmp_path / "haproxy").stat().st_mtime_ns
    guard.prepare_process()
    assert (tmp_path / "haproxy").stat().st_mtime_ns == before
    assert '_REAL = "/bin/true"' in (tmp_path / "haproxy").read_text()
