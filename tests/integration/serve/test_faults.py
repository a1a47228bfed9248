"""What is killed under a service while it is asked: replicas, the controller, the head; every answer is checked."""

import base64
import io
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from genre_ray.inference import Predictor
from genre_ray.schema import FEATURE_COLUMNS, Track
from genre_ray.spectrogram import figure_from_levels
from tests.integration.processes import below
from tests.integration.processes import title as name_of

pytestmark = [pytest.mark.ray, pytest.mark.slow]

CLIENTS = 4

ON_A_CLUSTER = """
import logging, os, signal, sys, time
logging.basicConfig(level=logging.INFO)
import ray
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
from genre_ray.serve import run

def restart(*_):
    cluster.head_node.kill_gcs_server(False)
    print("GCS killed", flush=True)
    time.sleep(6)
    cluster.head_node.start_gcs_server()
    print("GCS started", flush=True)

signal.signal(signal.SIGUSR1, restart)
run(sys.argv[1], address=cluster.address, timeout_s=280)
cluster.shutdown()
"""


@dataclass
class Answers:
    """What the clients of a load were told; `wrong` are answers with status 200 that are not the right ones."""

    counts: Counter[int] = field(default_factory=Counter)
    wrong: list[Any] = field(default_factory=list)
    last_refused: float = 0.0
    asked: int = 0


@dataclass(frozen=True)
class Question:
    """A figure with features, and the probabilities that the checkpoint gives for it here, without a service."""

    body: dict[str, Any]
    right: dict[str, float]


@pytest.fixture(scope="module")
def questions(checkpoint: Path) -> list[Question]:
    """Each client has a question of its own, so that an answer to another's would be noticed."""
    predictor = Predictor.open(checkpoint)
    made = []
    for number in range(CLIENTS):
        generator = np.random.default_rng(number)
        content = io.BytesIO()
        figure_from_levels(generator.integers(0, 256, (1, 128, 334), dtype=np.uint8)).save(content, "PNG")
        row = generator.standard_normal(len(FEATURE_COLUMNS))
        answer = predictor.predict(Track(id="q", figure=content.getvalue(), features=row))
        right = dict(zip(predictor.labels, map(float, answer.probabilities), strict=True))
        body = {"figure": base64.b64encode(content.getvalue()).decode(), "features": row.tolist()}
        made.append(Question(body, right))
    return made


@pytest.fixture(scope="module")
def service(serving: Callable[..., Any]) -> Any:
    return serving()


@contextmanager
def load(service: Any, questions: list[Question]) -> Iterator[Answers]:
    """Clients that ask without pause while the block runs."""
    answers, stop, lock = Answers(), threading.Event(), threading.Lock()

    def ask(question: Question) -> None:
        with service.client() as client:
            while not stop.is_set():
                try:
                    response = client.post("/v1/predict", json=question.body)
                    status, told = response.status_code, response.json().get("probabilities")
                except (httpx.HTTPError, ValueError):
                    status, told = -1, None
                with lock:
                    answers.asked += 1
                    answers.counts[status] += 1
                    if status != 200:
                        answers.last_refused = time.monotonic()
                    elif told != pytest.approx(question.right, abs=1e-4):
                        answers.wrong.append(told)

    threads = [threading.Thread(target=ask, args=(question,)) for question in questions]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def wait_until_well(answers: Answers, *, within_s: float = 90.0, quiet_s: float = 4.0) -> None:
    """Until nothing has been refused for a while, and answers come."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        before = answers.counts[200]
        time.sleep(1.0)
        if answers.counts[200] > before and time.monotonic() - answers.last_refused > quiet_s:
            return
    pytest.fail(f"not well again: {answers.counts}")


def processes(service: Any, title: str) -> list[int]:
    """Processes of the service whose title begins with `title`."""
    return [pid for pid in below(service.process.pid) if name_of(pid).startswith(title)]


def wait_for_another(service: Any, title: str, before: list[int]) -> list[int]:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        now = processes(service, title)
        if now and not set(now) & set(before):
            return now
        time.sleep(0.5)
    raise AssertionError(f"no other {title} than {before}")


def test_a_replica_killed_under_load_gives_no_wrong_answer(service: Any, questions: list[Question]) -> None:
    with load(service, questions) as answers:
        time.sleep(1.0)
        killed = processes(service, "ray::ServeReplica:genre:Figures")
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        wait_for_another(service, "ray::ServeReplica:genre:Figures", killed)
        wait_until_well(answers)
    assert answers.wrong == []
    assert set(answers.counts) <= {200, 429, 503, -1}, answers.counts
    assert answers.counts[-1] <= CLIENTS, "what the killed process itself held: at most one request a client"


def test_the_controller_of_serve_killed_under_load_costs_no_answer(service: Any, questions: list[Question]) -> None:
    with load(service, questions) as answers:
        time.sleep(1.0)
        killed = processes(service, "ray::ServeController")
        assert len(killed) == 1
        os.kill(killed[0], signal.SIGKILL)
        wait_for_another(service, "ray::ServeController", killed)
        time.sleep(10.0)
    assert answers.wrong == []
    assert set(answers.counts) == {200}, answers.counts
    with load(service, questions) as answers:  # the new one does its work: it replaces a replica
        killed = processes(service, "ray::ServeReplica:genre:Figures")
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        wait_for_another(service, "ray::ServeReplica:genre:Figures", killed)
        wait_until_well(answers)
    assert answers.wrong == []


@pytest.fixture
def redis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A Redis for the state of Ray's head, as cluster/kuberay/redis.yaml has it."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("needs redis-server: apt-get install redis-server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)]
    running = subprocess.Popen([program, *options], stdout=subprocess.DEVNULL)
    monkeypatch.setenv("RAY_REDIS_ADDRESS", f"127.0.0.1:{port}")
    yield
    running.kill()
    running.wait()


def on_other_ports(document: dict[str, Any]) -> None:
    """Than those of the service that the tests before have started."""
    environment = document["controller_options"]["runtime_env"]["env_vars"]
    environment |= {
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": "31500",
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": "31700",
    }


def test_the_head_of_ray_restarted_under_load_costs_no_answer(
    redis: None, serving: Callable[..., Any], questions: list[Question]
) -> None:
    service = serving(on_other_ports, ON_A_CLUSTER)
    with load(service, questions) as answers:
        time.sleep(1.0)
        service.process.send_signal(signal.SIGUSR1)
        deadline = time.monotonic() + 60
        while not any("GCS started" in line for line in service.lines):
            assert time.monotonic() < deadline, service.lines[-30:]
            time.sleep(0.5)
        time.sleep(10.0)
    assert answers.wrong == []
    assert set(answers.counts) == {200}, answers.counts
    with load(service, questions) as answers:
        killed = processes(service, "ray::ServeReplica:genre:Figures")
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        wait_for_another(service, "ray::ServeReplica:genre:Figures", killed)
        wait_until_well(answers)
    assert answers.wrong == []
