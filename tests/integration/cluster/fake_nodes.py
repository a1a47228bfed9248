"""A Ray cluster on this machine whose autoscaler starts and ends real raylets as if they were machines.

Ray's own AutoscalingCluster runs `ray stop --force`, which would end every Ray on the machine. Here only processes are
ended that this module started, found by the session that they all belong to.
"""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_HEAD = "f" * 51 + "00000"
_HEAD_TYPE = "ray.head.default"
"""Both as FakeMultiNodeProvider takes them for granted."""
_START_S = 180
PORTS = (
    "--port",
    "--ray-client-server-port",
    "--dashboard-port",
    "--dashboard-agent-listen-port",
    "--dashboard-agent-grpc-port",
    "--metrics-export-port",
    "--node-manager-port",
    "--object-manager-port",
)


class Watch:
    """How many worker nodes there were, second by second."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.seen: list[tuple[float, int, int]] = []
        """Seconds since the start of the watch, nodes that are up, nodes on their way."""
        assert process.stdout is not None
        self._lines = process.stdout
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self._lines:
            with suppress(json.JSONDecodeError):
                self.seen.append(tuple(json.loads(line)))

    @property
    def workers(self) -> int | None:
        """Nodes that are up now; None before the first look."""
        return self.seen[-1][1] if self.seen else None

    def wait_for(self, workers: int, *, within_s: float) -> None:
        """Return when there are so many workers and none on its way; AssertionError with what was seen otherwise."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            if self.seen and self.seen[-1][1:] == (workers, 0):
                return
            time.sleep(0.5)
        raise AssertionError(f"not {workers} workers within {within_s} s; seen: {self.steps()}, last {self.seen[-1:]}")

    def steps(self) -> list[tuple[float, int]]:
        """When the number of nodes changed, and to what."""
        return [
            (seconds, count)
            for place, (seconds, count, _) in enumerate(self.seen)
            if place == 0 or self.seen[place - 1][1] != count
        ]


@dataclass(frozen=True)
class FakeCluster:
    """A running cluster: its address, the environment that a client of it needs, and the number of its nodes."""

    address: str
    environment: dict[str, str]
    watch: Watch


@contextmanager
def fake_cluster(folder: Path, *, cpus: int, max_workers: int, idle_s: float) -> Iterator[FakeCluster]:
    """A head without CPUs and up to `max_workers` nodes with `cpus` each, which end after `idle_s` without work."""
    token = folder / "token"
    token.write_text(secrets.token_hex(24), encoding="utf-8")
    client = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token), "RAY_USAGE_STATS_ENABLED": "0"}
    # Ray gives a raylet 30 s to come up, and that is not always enough on a busy machine.
    for last in (False, False, True):
        ports = free_ports(len(PORTS))
        address = f"127.0.0.1:{ports[0]}"
        config = folder / "cluster.yaml"
        shape = _config(address, cpus=cpus, max_workers=max_workers, idle_s=idle_s)
        config.write_text(json.dumps(shape), encoding="utf-8")
        short = tempfile.mkdtemp(prefix="fake")  # a socket's path must be short, and pytest's folders are long
        log = folder / "head.log"
        process = _start(ports, config, short, client, log)
        try:
            if not is_up(process, log):
                assert not last, log.read_text(encoding="utf-8", errors="replace")[-3000:]
                continue
            with _watch(address, client, folder / "watch.log") as watch:
                yield FakeCluster(address=address, environment=client, watch=watch)
            return
        finally:
            end_session(process)
            shutil.rmtree(short, ignore_errors=True)


def _start(
    ports: list[int], config: Path, temporary: str, environment: dict[str, str], log: Path
) -> subprocess.Popen[bytes]:
    head = environment | {
        "RAY_FAKE_CLUSTER": "1",
        "RAY_enable_autoscaler_v2": "1",
        "RAY_CLOUD_INSTANCE_ID": _HEAD,
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": _HEAD,
        "RAY_NODE_TYPE_NAME": _HEAD_TYPE,
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
    }
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--num-cpus=0"]
    command += [f"{name}={port}" for name, port in zip(PORTS, ports, strict=True)]
    command += [f"--autoscaling-config={config}", "--include-dashboard=false", "--node-ip-address=127.0.0.1"]
    command += ["--min-worker-port=0", "--max-worker-port=0", f"--object-store-memory={200 * 2**20}"]
    command += [f"--temp-dir={temporary}"]
    with log.open("wb") as sink:
        return subprocess.Popen(command, env=os.environ | head, stdout=sink, stderr=sink, start_new_session=True)


@contextmanager
def _watch(address: str, environment: dict[str, str], log: Path) -> Iterator[Watch]:
    command = [sys.executable, str(Path(__file__).with_name("watch_nodes.py")), address]
    with log.open("wb") as sink:
        process = subprocess.Popen(
            command, env=os.environ | environment, stdout=subprocess.PIPE, stderr=sink, text=True
        )
    try:
        yield Watch(process)
    finally:
        process.kill()
        process.wait()


def _config(address: str, *, cpus: int, max_workers: int, idle_s: float) -> dict[str, object]:
    # Ray fills these in for its own providers only.
    lists = ("initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands")
    lists += ("head_start_ray_commands", "worker_start_ray_commands", "cluster_synced_files", "rsync_exclude")
    empty: dict[str, object] = {name: [] for name in (*lists, "rsync_filter")}
    return empty | {
        "auth": {},
        "docker": {},
        "file_mounts": {},
        "upscaling_speed": 1.0,
        "cluster_name": "fake",
        "max_workers": max_workers,
        "idle_timeout_minutes": idle_s / 60,
        "provider": {
            "type": "external",
            "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
            "gcs_address": address,
            "head_node_id": _HEAD,
            "launch_multiple": True,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
        },
        "head_node_type": _HEAD_TYPE,
        "available_node_types": {
            _HEAD_TYPE: {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            "worker": {
                "resources": {"CPU": cpus, "object_store_memory": 200 * 2**20},
                "node_config": {},
                "min_workers": 0,
                "max_workers": max_workers,
            },
        },
    }


def free_ports(count: int) -> list[int]:
    """Ports above 20000 that nobody listens on; held open together, so that no two are the same."""
    held: list[socket.socket] = []
    try:
        for port in range(20_000 + secrets.randbelow(20_000), 65_000):
            candidate = socket.socket()
            try:
                candidate.bind(("127.0.0.1", port))
            except OSError:
                candidate.close()
                continue
            held.append(candidate)
            if len(held) == count:
                return [taken.getsockname()[1] for taken in held]
    finally:
        for taken in held:
            taken.close()
    raise AssertionError("no free ports")


def is_up(process: subprocess.Popen[bytes], log: Path) -> bool:
    """Whether the head says that it runs; False when it ends instead, or says nothing for long."""
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and process.poll() is None:
        if "Ray runtime started" in log.read_text(encoding="utf-8", errors="replace"):
            return True
        time.sleep(0.5)
    return False


def end_session(process: subprocess.Popen[bytes]) -> None:
    """End the head and everything that it started: `ray start --block` asked kindly, then its session."""
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(30)
    for kind in (signal.SIGTERM, signal.SIGKILL):
        for pid in _session(process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, kind)
        deadline = time.monotonic() + 15
        while _session(process.pid) and time.monotonic() < deadline:
            time.sleep(0.5)


def _session(leader: int) -> list[int]:
    """The living processes of a session, by /proc: state, parent, group, session follow the name in brackets."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                state, _, _, session = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[:4]
                if int(session) == leader and state != "Z":
                    found.append(int(entry.name))
    return found
