"""The client that the benchmark of the service uses counts what a server says."""

import runpy
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

LOAD = runpy.run_path(str(Path(__file__).parents[3] / "benchmarks/load.py"))["load"]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    asked: ClassVar[list[int]] = []

    def do_POST(self) -> None:
        size = len(self.rfile.read(int(self.headers["content-length"])))
        self.asked.append(size)
        status = 429 if len(self.asked) % 4 == 0 else 200
        body = b"answer" * 1000
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        if len(self.asked) % 5 == 0:
            self.send_header("connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(Handler, "asked", [])
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def test_every_answer_is_counted_once_by_its_status(port: int) -> None:
    found = LOAD(port, "/x", 3, 0.5, 0.0, b"q" * 300_000, "text/plain")
    assert set(Handler.asked) == {300_000}
    assert found["ok"] + found["refused"] == len(Handler.asked)
    assert found["refused"] == len(Handler.asked) // 4
    assert found["other"] == 0
    assert found["p50_ms"] > 0


def test_requests_start_on_a_clock_when_a_rate_is_given(port: int) -> None:
    LOAD(port, "/x", 20, 1.0, 40.0, b"q", "text/plain")
    assert 35 <= len(Handler.asked) <= 41
