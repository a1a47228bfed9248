"""What a stranger may send: bombs, forged headers, polyglots, half-closed connections, thousands of mutations."""

import io
import json
import os
import socket
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile

pytestmark = [pytest.mark.slow]

FUZZ = int(os.environ.get("GENRE_RAY_FUZZ", "10000"))
"""How many mutated files; the service is meant to stand 10,000."""

ROW = json.dumps([0.5] * 57)


def post_figure(url: str, content: bytes, features: str = ROW) -> httpx.Response:
    with httpx.Client(base_url=url, timeout=60) as client:
        return client.post("/v1/predict", files={"figure": ("a.png", content)}, data={"features": features})


def post_sound(url: str, content: bytes, **more: Any) -> httpx.Response:
    with httpx.Client(base_url=url, timeout=120) as client:
        return client.post("/v1/predict/audio", content=content, **more)


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def wav(samples: int, *, channels: int = 1, rate: int = 22050, declared: int | None = None) -> bytes:
    data = bytes(samples * channels * 2)
    size = len(data) if declared is None else declared
    fmt = struct.pack(
        "<HHIIHH", 1, channels, rate & 0xFFFFFFFF, (rate * channels * 2) & 0xFFFFFFFF, channels * 2 & 0xFFFF, 16
    )
    return (
        b"RIFF"
        + struct.pack("<I", (36 + size) & 0xFFFFFFFF)
        + b"WAVEfmt "
        + struct.pack("<I", 16)
        + fmt
        + (b"data" + struct.pack("<I", size & 0xFFFFFFFF) + data)
    )


def png_bomb(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(bytes((width + 8) // 8 * height), 9)
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_a_png_of_179_megapixels_costs_nothing(running: Any) -> None:
    bomb = png_bomb(13_400, 13_400)
    before, start = resident_mb(), time.perf_counter()
    response = post_figure(running.url, bomb)
    assert response.status_code == 413
    assert "13400 x 13400" in response.json()["found"]
    assert time.perf_counter() - start < 2.0
    assert resident_mb() - before < 50


def test_a_png_of_the_right_size_with_a_bomb_in_its_text_is_bounded(running: Any) -> None:
    packed = zlib.compress(bytes(200 * 2**20), 9)
    data = b"k\0\0" + packed
    chunk = struct.pack(">I", len(data)) + b"zTXt" + data + struct.pack(">I", zlib.crc32(b"zTXt" + data))
    base = png_bomb(432, 288)
    before = resident_mb()
    assert post_figure(running.url, base[:33] + chunk + base[33:]).status_code in (413, 422)
    assert resident_mb() - before < 150


def test_an_hour_of_silence_in_half_a_megabyte_is_413(running: Any) -> None:
    content = io.BytesIO()
    soundfile.write(content, np.zeros(3600 * 22050, np.int16), 22050, format="FLAC")
    assert len(content.getvalue()) < 2**20
    start = time.perf_counter()
    response = post_sound(running.url, content.getvalue())
    assert response.status_code == 413
    assert response.json()["kind"] == "too_long"
    assert time.perf_counter() - start < 15


@pytest.mark.parametrize(
    "content",
    [
        wav(22050, declared=2**32 - 8),
        wav(64, channels=1024),
        wav(22050, rate=192_000_000),
        wav(22050, rate=0),
        wav(22050, channels=0),
        b"RF64" + wav(22050)[4:],
        b"fLaC\x00\x00\x00\x22" + b"\xff" * 34 + bytes(200),
        b"OggS" + bytes(4000),
        b"ID3\x04\x00\x00\x7f\x7f\x7f\x7f" + bytes(100),
        b"\x00\x00\x00\x20ftypM4A " + b"\xff" * 500,
    ],
    ids=["4GiB", "1024 channels", "192 MHz", "0 Hz", "no channel", "RF64", "flac", "ogg", "ID3 of 256 MB", "m4a"],
)
def test_a_forged_header_is_refused_and_takes_no_memory(running: Any, content: bytes) -> None:
    before = resident_mb()
    response = post_sound(running.url, content)
    assert 400 <= response.status_code < 500, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert resident_mb() - before < 100


def test_a_polyglot_is_what_its_first_bytes_are(running: Any) -> None:
    script = b"<script>alert(1)</script>"
    assert post_sound(running.url, script + wav(22050)).status_code == 415
    assert post_figure(running.url, wav(2000)).status_code == 415
    assert post_sound(running.url, png_bomb(432, 288)).status_code == 415


def test_names_of_files_reach_no_disk(running: Any, tmp_path: Path) -> None:
    before = {path.name for path in Path.cwd().iterdir()}
    with httpx.Client(base_url=running.url, timeout=60) as client:
        for name in ("../../../etc/passwd", "/etc/passwd", "C:\\x", "a\0b", "x" * 5000, "s3://bucket/key"):
            files = {"figure": (name, png_bomb(100, 100))}
            assert client.post("/v1/predict", files=files, data={"features": ROW}).status_code in (400, 413, 422)
    assert {path.name for path in Path.cwd().iterdir()} == before


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 200_000,
        b'{"a":' * 100_000,
        b'{"features": [' + b"1," * 500_000 + b"1]}",
        b'{"features": {"tempo": 1e999}}',
        b'{"features": [' + b",".join([b"1e400"] * 57) + b"]}",
        b'{"features": [' + b",".join([b"9" * 400] * 57) + b"]}",
        b'{"figure": "' + b"A" * 3_000_000 + b'"}',
        b"\xef\xbb\xbf{}",
        b'"\\ud800"',
    ],
    ids=["brackets", "nesting", "many", "inf", "infs", "huge", "long", "BOM", "surrogate"],
)
def test_hostile_json_is_refused(running: Any, body: bytes) -> None:
    with httpx.Client(base_url=running.url, timeout=60) as client:
        response = client.post("/v1/predict", content=body, headers={"content-type": "application/json"})
    assert response.status_code in (400, 413, 415, 422), response.text


def test_half_closed_and_abandoned_connections_leave_no_trace(running: Any) -> None:
    head = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"
    for tail in (b"", b"x" * 50, b"x" * 99_999):
        for how in (socket.SHUT_WR, socket.SHUT_RDWR):
            with socket.create_connection(("127.0.0.1", running.port), timeout=10) as connection:
                connection.sendall(head + tail)
                connection.shutdown(how)
    chunked = b"POST /v1/predict HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nZZZ\r\n"
    for garbage in (bytes(100), b"GET / HTTP/9.9\r\n\r\n", chunked):
        with socket.create_connection(("127.0.0.1", running.port), timeout=10) as connection:
            connection.sendall(garbage)
            connection.settimeout(5)
            connection.recv(1000)
    with httpx.Client(base_url=running.url) as client:
        assert client.get("/v2/health/ready").status_code == 200


@pytest.mark.soak
def test_mutated_files_get_an_answer_or_a_refusal_and_memory_is_steady(engine: Any, tmp_path: Path) -> None:
    program = Path(__file__).with_name("mutations.py")
    done = subprocess.run(
        [sys.executable, str(program), engine.checkpoint, str(FUZZ), "7"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=3600,
        check=False,
    )
    assert done.returncode == 0, f"the process died with {done.returncode}: {done.stderr[-1000:]}"
    found = json.loads(done.stdout.splitlines()[-1])
    assert set(found["statuses"]) <= {"200", "400", "413", "415", "422"}, found
    assert sum(found["statuses"].values()) == FUZZ
    assert found["grown_kb"] < 60_000


@pytest.mark.soak
def test_the_description_holds_under_schemathesis(engine: Any) -> None:
    schemathesis = pytest.importorskip("schemathesis", reason="needs schemathesis: pip install schemathesis")
    from genre_ray.serve.local import LocalBackend
    from genre_ray.serve.web import WebApplication

    schema = schemathesis.openapi.from_asgi("/openapi.json", WebApplication(LocalBackend(engine), engine.args))
    checked: set[str] = set()
    for operation in schema.get_all_operations():
        _run(operation.ok(), checked)
    assert {"POST /v1/predict", "POST /v1/predict/audio", "GET /v1/model"} <= checked


def _run(operation: Any, checked: set[str]) -> None:
    from hypothesis import HealthCheck, Phase, given, settings

    @given(case=operation.as_strategy())
    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
    def run(case: Any) -> None:
        response = case.call()
        checked.add(f"{case.method} {case.path}")
        assert response.status_code < 500, response.text
        if response.status_code >= 400:
            assert "application/problem+json" in str(response.headers["content-type"])

    run()
