"""A service in a process of its own, as a person starts it, on ports of its own."""

import os
import re
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

ROOT = Path(__file__).parents[3]
write_checkpoint = runpy.run_path(str(ROOT / "tests/unit/serve/checkpoints.py"))["write_checkpoint"]

_PROGRAM = """
import logging, sys
logging.basicConfig(level=logging.INFO)
from genre_ray.serve import run
run(sys.argv[1], timeout_s=280)
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Service:
    """A running service: where it is, where its Ray is, what it said."""

    process: subprocess.Popen[str]
    url: str
    ports: dict[str, int]
    ray_address: str = ""
    lines: list[str] = field(default_factory=list)

    def client(self, **more: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=60.0, **more)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("first") / "best")


@pytest.fixture(scope="session")
def other_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("second") / "best", seed=1)


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> Iterator[Callable[..., Service]]:
    """Starts services from `serve_configs/hybrid.yaml`; `change` may alter the document first."""
    started: list[Service] = []

    def start(change: Callable[[dict[str, Any]], None] | None = None, program: str = _PROGRAM) -> Service:
        document = yaml.safe_load((ROOT / "serve_configs/hybrid.yaml").read_text())
        ports = {"http": free_port(), "stats": free_port(), "metrics": free_port()}
        document["http_options"]["port"] = ports["http"]
        document["applications"][0]["args"]["checkpoint"] = str(checkpoint)
        folder = tmp_path_factory.mktemp("service")
        environment = document["controller_options"]["runtime_env"]["env_vars"]
        environment |= {
            "RAY_SERVE_HAPROXY_STATS_PORT": str(ports["stats"]),
            "RAY_SERVE_HAPROXY_METRICS_PORT": str(ports["metrics"]),
            "RAY_SERVE_HAPROXY_BINARY_PATH": str(folder / "haproxy"),
            "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": "31200",
            "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": "31400",
        }
        if change is not None:
            change(document)
        (folder / "service.yaml").write_text(yaml.safe_dump(document))
        service = _start(folder, ports, program)
        started.append(service)
        return service

    yield start
    for service in started:
        stop(service)


def _start(folder: Path, ports: dict[str, int], program: str) -> Service:
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(folder / "service.yaml")],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder,
        env=os.environ | {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"},
    )
    service = Service(process, f"http://127.0.0.1:{ports['http']}", ports)
    ready = threading.Event()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            service.lines.append(line)
            if match := re.search(r"serving at \S+, Ray at (\S+)", line):
                service.ray_address = match[1]
                ready.set()
        ready.set()

    threading.Thread(target=read, daemon=True).start()
    ready.wait(300)
    if not service.ray_address:
        stop(service)
        pytest.fail("the service did not start:\n" + "".join(service.lines[-60:]))
    return service


def stop(service: Service) -> None:
    if service.process.poll() is None:
        service.process.send_signal(signal.SIGTERM)
        try:
            service.process.wait(90)
        except subprocess.TimeoutExpired:
            service.process.kill()
    time.sleep(0.5)
