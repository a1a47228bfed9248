"""The service as a person starts it: HAProxy in front, two deployments, promotion under load, a killed replica."""

import base64
import io
import json
import os
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
import yaml

from genre_ray.checkpoint import version_of
from genre_ray.spectrogram import figure_from_levels

pytestmark = [pytest.mark.ray, pytest.mark.slow]

ROOT = Path(__file__).parents[3]
GRPC: dict[str, int] = {}

PROMOTE = """
import json, sys
from genre_ray.serve import promote
from genre_ray.errors import GenreRayError
try:
    done = promote(sys.argv[1], address=sys.argv[2])
    print("RESULT", json.dumps({"before": done.before, "after": done.after, "replicas": done.replicas}))
except GenreRayError as error:
    print("RESULT", json.dumps({"error": str(error)}))
"""

PIDS = """
import json, sys
from genre_ray.serve.promotion import connect_to_running, replica_states
connect_to_running(sys.argv[1])
print("RESULT", json.dumps([state["pid"] for state in replica_states("genre", ["Figures"])]))
"""


LOGS = """
import json, sys
from genre_ray.serve.promotion import connect_to_running
connect_to_running(sys.argv[1])
from ray._private.worker import _global_node
print("RESULT", json.dumps(_global_node.get_logs_dir_path()))
"""


@pytest.fixture(scope="module")
def service(serving: Callable[..., Any]) -> Any:
    def change(document: dict[str, Any]) -> None:
        document["grpc_options"] = yaml.safe_load((ROOT / "serve_configs/grpc.yaml").read_text())["grpc_options"]
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            document["grpc_options"]["port"] = GRPC["port"] = probe.getsockname()[1]

    return serving(change)


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    content = io.BytesIO()
    figure_from_levels(np.random.default_rng(0).integers(0, 256, (1, 128, 334), dtype=np.uint8)).save(content, "PNG")
    return {"figure": base64.b64encode(content.getvalue()).decode(), "features": [0.5] * 57}


@pytest.fixture(scope="module")
def sound() -> bytes:
    time_s = np.arange(22050 * 10) / 22050
    beat = np.sin(2 * np.pi * 220 * time_s) * (np.sin(2 * np.pi * 2 * time_s) > 0)
    content = io.BytesIO()
    soundfile.write(content, (0.3 * beat).astype(np.float32), 22050, format="FLAC")
    return content.getvalue()


def script(program: str, *arguments: str) -> Any:
    """What `program` prints after RESULT, run in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=200, check=False
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    assert lines, done.stdout[-2000:] + done.stderr[-2000:]
    return json.loads(lines[-1].removeprefix("RESULT "))


@contextmanager
def load(service: Any, document: dict[str, Any], clients: int = 3) -> Iterator[list[tuple[int, str]]]:
    """Clients that ask without pause while the block runs; status and version of every answer.

    The status is -1 where none came, and -2 where one version gave another answer than before.
    """
    answers: list[tuple[int, str]] = []
    scores: dict[str, float] = {}
    stop = threading.Event()

    def ask() -> None:
        with service.client() as client:
            while not stop.is_set():
                try:
                    response = client.post("/v1/predict", json=document)
                    answer = response.json()
                    version = answer.get("model", {}).get("version", "")
                    score = answer.get("score", 0.0)
                    wrong = bool(version) and abs(scores.setdefault(version, score) - score) > 1e-4
                    answers.append((-2 if wrong else response.status_code, version))
                except httpx.HTTPError:
                    answers.append((-1, ""))

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_a_figure_is_answered_with_version_and_request_id(
    service: Any, document: dict[str, Any], checkpoint: Path
) -> None:
    with service.client() as client:
        response = client.post("/v1/predict", json=document, headers={"x-request-id": "trace-1"})
    assert response.status_code == 200, response.text
    answer = response.json()
    assert answer["model"]["version"] == version_of(checkpoint)
    assert answer["request_id"] == "trace-1"
    assert response.headers.get_list("x-request-id") == ["trace-1"]


def test_a_recording_is_answered_by_its_own_deployment(service: Any, sound: bytes) -> None:
    with service.client() as client:
        response = client.post("/v1/predict/audio?top_k=2", content=sound, headers={"content-type": "audio/flac"})
        as_list = client.post("/v1/audio-classification?top_k=2", content=sound)
        rubbish = client.post("/v1/predict/audio", content=b"fLaC" + b"\0" * 500)
    assert response.status_code == 200, response.text
    assert len(response.json()["predictions"]) == 2
    assert [set(row) for row in as_list.json()] == [{"label", "score"}] * 2
    assert rubbish.status_code == 422
    assert rubbish.json()["type"].endswith("#unusable-audio")


def test_a_recording_of_a_dozen_megabytes_is_answered(service: Any) -> None:
    """Serve's own channel between deployments ends at four."""
    content = io.BytesIO()
    soundfile.write(
        content, np.random.default_rng(0).normal(0, 0.1, 140 * 44100).astype(np.float32), 44100, format="WAV"
    )
    assert len(content.getvalue()) > 12_000_000
    with service.client() as client:
        response = client.post("/v1/predict/audio", content=content.getvalue())
    assert response.status_code == 200, response.text
    for stage in ("queue", "decode", "features", "forward"):
        assert f"{stage};dur=" in response.headers["server-timing"]


def test_the_access_log_is_json_and_tells_nothing_of_the_content(service: Any, document: dict[str, Any]) -> None:
    with service.client(headers={"x-request-id": "to-be-found"}) as client:
        client.post("/v1/predict?top_k=1", json=document)
    time.sleep(1.5)
    logs = script(LOGS, service.ray_address)
    lines = [json.loads(line) for log in Path(logs).glob("serve/access_*.log") for line in log.read_text().splitlines()]
    (line,) = (line for line in lines if line["request_id"] == "to-be-found")
    assert (line["method"], line["path"], line["status"]) == ("POST", "/v1/predict", 200)
    assert set(line) == {"time", "request_id", "method", "path", "status", "ms", "bytes", "key", "version"}


def test_grpc_listens_on_loopback_as_http_does(service: Any) -> None:
    listening = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
    found = {line.split()[1] for line in listening.splitlines() if line.split()[3:4] == ["0A"]}
    for port in (GRPC["port"], 40000, 9500):  # HAProxy's, a replica's, the proxy's that stands by
        addresses = {address.partition(":")[0] for address in found if address.endswith(f":{port:04X}")}
        assert addresses <= {"0100007F", "0000000000000000FFFF00000100007F"}, port  # the latter is 127.0.0.1 over IPv6


def test_hostile_requests_under_load_are_refused_and_good_ones_answered(service: Any, document: dict[str, Any]) -> None:
    attacks = runpy.run_path(str(ROOT / "tests/e2e/serve/attacks.py"))
    table = attacks["table"]()
    faults: dict[str, str] = {}
    before = resident_mb(service)
    with load(service, document, clients=2) as answers:
        for name, content in table.items():
            method = "HEAD" if content.startswith(b"HEAD") else "POST"
            if fault := attacks["send"](service.ports["http"], content, method=method).fault():
                faults[name] = fault
    assert len(table) > 500
    assert faults == {}
    assert len(answers) > 100
    assert {status for status, _ in answers} == {200}
    assert resident_mb(service) - before < 300


def resident_mb(service: Any) -> int:
    """Resident memory of the largest replica."""
    pids = script(PIDS, service.ray_address)
    pages = max(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
    return pages * os.sysconf("SC_PAGE_SIZE") // 2**20


def test_the_same_question_over_grpc_has_the_same_answer(service: Any, document: dict[str, Any]) -> None:
    import grpc

    from genre_ray.serve.grpc_api.messages import SERVICE, messages

    made = messages()
    request = made.PredictRequest(figure=base64.b64decode(document["figure"]), features=document["features"])
    with grpc.insecure_channel(f"127.0.0.1:{GRPC['port']}") as channel:
        ask = channel.unary_unary(
            f"/{SERVICE}/Predict",
            request_serializer=made.PredictRequest.SerializeToString,
            response_deserializer=made.PredictReply.FromString,
        )
        reply = ask(request, timeout=60)
        with pytest.raises(grpc.RpcError) as refused:
            ask(made.PredictRequest(figure=b"GIF89a", features=document["features"]), timeout=60)
    with service.client() as client:
        answer = client.post("/v1/predict", json=document).json()
    assert reply.label == answer["label"]
    assert reply.version == answer["model"]["version"]
    assert reply.score == pytest.approx(answer["score"], abs=1e-5)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "PNG or JPEG" in refused.value.details()


def test_headers_that_belong_to_serve_have_no_effect_from_outside(service: Any, document: dict[str, Any]) -> None:
    hostile = {
        "x-request-timeout-seconds": "0.000001",
        "x-request-disconnect-disabled": "?1",
        "x-request-id": "a" * 500,
    }
    with service.client() as client:
        response = client.post("/v1/predict", json=document, headers=hostile)
    assert response.status_code == 200
    assert response.headers["x-request-id"] != "a" * 500


def test_statistics_and_metrics_of_haproxy_listen_on_loopback_only(service: Any) -> None:
    listening = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
    addresses = {
        line.split()[1] for line in listening.splitlines() if len(line.split()) > 3 and line.split()[3] == "0A"
    }
    for port in service.ports.values():
        found = {address.partition(":")[0] for address in addresses if address.endswith(f":{port:04X}")}
        assert found == {"0100007F"}


def test_an_announced_gigabyte_is_refused_before_it_is_sent(service: Any) -> None:
    with socket.create_connection(("127.0.0.1", service.ports["http"]), timeout=30) as connection:
        connection.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1073741824\r\n\r\n")
        head = connection.recv(4096)
    assert b" 413 " in head.split(b"\r\n")[0]
    assert b"application/problem+json" in head


def test_a_promotion_under_load_loses_no_request(
    service: Any, document: dict[str, Any], checkpoint: Path, other_checkpoint: Path
) -> None:
    with load(service, document) as answers:
        time.sleep(1.0)
        done = script(PROMOTE, str(other_checkpoint), service.ray_address)
        time.sleep(1.0)
    assert done["before"] == version_of(checkpoint)
    assert done["after"] == version_of(other_checkpoint)
    assert done["replicas"] >= 2
    assert {status for status, _ in answers} == {200}
    assert {version for _, version in answers} == {version_of(checkpoint), version_of(other_checkpoint)}
    assert answers[-1][1] == version_of(other_checkpoint)


def test_a_bad_checkpoint_is_refused_and_the_old_one_goes_on(
    service: Any, document: dict[str, Any], checkpoint: Path, tmp_path: Path
) -> None:
    with service.client() as client:
        before = client.post("/v1/predict", json=document).json()["model"]["version"]
    shutil.copytree(checkpoint, tmp_path / "damaged")
    weights = next((tmp_path / "damaged").glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-100])
    with load(service, document) as answers:
        done = script(PROMOTE, str(tmp_path / "damaged"), service.ray_address)
    assert "error" in done
    assert set(answers) == {(200, before)}


def test_the_only_replica_killed_under_load_comes_back(service: Any, document: dict[str, Any]) -> None:
    pids = script(PIDS, service.ray_address)
    with load(service, document) as answers:
        time.sleep(0.5)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        end = time.monotonic() + 90
        while time.monotonic() < end:
            time.sleep(1.0)
            if len(answers) > 30 and all(status == 200 for status, _ in answers[-9:]):
                break
    counts = Counter(status for status, _ in answers)
    assert all(status == 200 for status, _ in answers[-6:]), counts
    assert set(counts) <= {200, 429, 503, -1}, counts
    # What the killed processes held: at most one request a client each. HAProxy closes a connection that was used
    # before without a word, so that the client asks again (RFC 9112, section 9.3.1).
    assert counts[-1] <= 3 * len(pids), counts


def test_stopped_it_leaves_no_process_behind(serving: Callable[..., Any], service: Any) -> None:
    service.process.send_signal(signal.SIGTERM)
    service.process.wait(120)
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", service.ports["http"]), timeout=1).close()
        except OSError:
            return
        time.sleep(0.5)
    pytest.fail("something still listens")
