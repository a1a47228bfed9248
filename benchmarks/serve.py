"""How fast the service is beside a hand-written one: the same model, body and number of workers, turn about in one run.

    python benchmarks/serve.py [--checkpoint DIR] [--rounds 4] [--seconds 6] [--workers 2] [--clients 8]

Prints ratios, each of two measurements of this run: requests a second against FastAPI + uvicorn (the same engine, and
the plain one: eager torch), processor time a request against the same work called directly, refusals under twice the
capacity, and the time of a recording. The client is a process of its own.
"""

import argparse
import asyncio
import io
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

ROOT = Path(__file__).parents[1]
ROW = json.dumps([0.5] * 57)
TICKS = os.sysconf("SC_CLK_TCK")


# --- the question -----------------------------------------------------------------------------------------------------


def figure() -> bytes:
    """A figure as hard to unpack as a real one: smooth in time, rough in frequency."""
    from genre_ray.spectrogram import figure_from_levels

    generator = np.random.default_rng(0)
    walk = np.cumsum(generator.normal(0, 6, (128, 334)), axis=1) + np.linspace(200, 40, 128)[:, None]
    content = io.BytesIO()
    figure_from_levels(np.clip(walk, 0, 255).astype(np.uint8)[None]).save(content, "PNG")
    return content.getvalue()


def body() -> tuple[bytes, str]:
    head = b'--B\r\nContent-Disposition: form-data; name="features"\r\n\r\n' + ROW.encode()
    part = (
        b'\r\n--B\r\nContent-Disposition: form-data; name="figure"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
    )
    return head + part + figure() + b"\r\n--B--\r\n", "multipart/form-data; boundary=B"


def sound() -> bytes:
    """Thirty seconds of mp3."""
    import soundfile

    seconds = np.arange(22050 * 30) / 22050
    tone = sum(np.sin(2 * np.pi * f * seconds) / (i + 1) for i, f in enumerate((110, 220, 331, 1203)))
    noise = np.random.default_rng(0).normal(0, 0.2, len(seconds)) * (np.sin(2 * np.pi * 2 * seconds) > 0.6)
    content = io.BytesIO()
    soundfile.write(content, (0.2 * (tone + noise)).astype(np.float32), 22050, format="MP3")
    return content.getvalue()


# --- the servers ------------------------------------------------------------------------------------------------------

FASTAPI = """
import json, os
from typing import Annotated
import numpy as np
from fastapi import FastAPI, Form, UploadFile
from genre_ray.inference import Predictor
from genre_ray.schema import Track
from genre_ray.serve.quickening import quicken
predictor = Predictor.open(os.environ["CHECKPOINT"], device="cpu", threads=1)
quicken(predictor, os.environ["BACKEND"])
predictor.warm_up()
api = FastAPI()
@api.post("/v1/predict")
async def predict(figure: UploadFile, features: Annotated[str, Form()]):
    row = np.array(json.loads(features), dtype=np.float64)
    found = predictor.predict(Track(id="r", figure=await figure.read(), features=row))
    return {"label": found.label, "probabilities": dict(zip(found.labels, found.probabilities.tolist()))}
"""

SERVICE = """
import logging, sys
logging.basicConfig(level=logging.INFO)
from genre_ray.serve import run
run(sys.argv[1], timeout_s=400)
"""

DIRECT = """
import json, os, sys, time
import numpy as np
from genre_ray.inference import Predictor
from genre_ray.schema import Track
from genre_ray.serve.quickening import quicken
predictor = Predictor.open(os.environ["CHECKPOINT"], device="cpu", threads=1)
quicken(predictor, os.environ["BACKEND"])
track = Track(id="r", figure=open(sys.argv[1], "rb").read(), features=np.full(57, 0.5))
for _ in range(20): predictor.predict(track)
end, count, start = time.time() + float(sys.argv[2]), 0, time.process_time()
while time.time() < end:
    predictor.predict(track); count += 1
print(json.dumps({"cpu_ms": (time.process_time() - start) / count * 1e3}))
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A server in a process group of its own, and what its processes have used."""

    def __init__(self, name: str, command: list[str], port: int, environment: dict[str, str]) -> None:
        self.name, self.port = name, port
        self.idle = 0.0
        self.log = tempfile.NamedTemporaryFile("w+", suffix=".log")  # noqa: SIM115 - as long as the server
        self.process = subprocess.Popen(
            command, env=os.environ | {"OMP_NUM_THREADS": "1"} | environment, stdout=self.log, stderr=self.log
        )

    def wait(self, seconds: float = 400) -> None:
        """Until it answers a question."""
        content, kind = body()
        end = time.time() + seconds
        while time.time() < end and self.process.poll() is None:
            try:
                if asyncio.run(_load(self.port, content, kind, "/v1/predict", 1, 0.05))["ok"]:
                    return
            except OSError:
                pass
            time.sleep(1)
        raise SystemExit(f"{self.name} did not start: {Path(self.log.name).read_text()[-2000:]}")

    def cpu_s(self) -> float:
        """Processor seconds of the process and all below it, the dead ones among the waited-for included."""
        parents, used = {}, {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    fields = (entry / "stat").read_text().rpartition(")")[2].split()
                except OSError:
                    continue
                parents[int(entry.name)] = int(fields[1])
                used[int(entry.name)] = sum(int(fields[i]) for i in (11, 12)) / TICKS
        below = {self.process.pid}
        while more := {pid for pid, parent in parents.items() if parent in below} - below:
            below |= more
        return sum(used.get(pid, 0.0) for pid in below)

    def stop(self) -> None:
        """Ask it to end, and see to it."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(120)
        except subprocess.TimeoutExpired:
            self.process.kill()


def service(folder: Path, checkpoint: str, workers: int, **limits: int) -> Server:
    document = yaml.safe_load((ROOT / "serve_configs/hybrid.yaml").read_text())
    port = free_port()
    document["http_options"]["port"] = port
    environment = document["controller_options"]["runtime_env"]["env_vars"]
    environment |= {
        "RAY_SERVE_HAPROXY_STATS_PORT": str(free_port()),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(free_port()),
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(folder / "haproxy"),
    }
    application = document["applications"][0]
    application["args"] |= {"checkpoint": checkpoint, "limits": limits}
    figures, recordings = application["deployments"]
    for deployment, count in ((figures, workers), (recordings, 1)):
        del deployment["autoscaling_config"]
        deployment["num_replicas"] = count
        deployment["ray_actor_options"] = {"num_cpus": 0.3}
    path = folder / "service.yaml"
    path.write_text(yaml.safe_dump(document))
    return Server("service", [sys.executable, "-c", SERVICE, str(path)], port, {})


def plain(backend: str) -> Callable[[Path, str, int], Server]:
    def start(folder: Path, checkpoint: str, workers: int) -> Server:
        (folder / "plain_server.py").write_text(FASTAPI)
        port = free_port()
        command = [sys.executable, "-m", "uvicorn", "plain_server:api", "--app-dir", str(folder), "--port", str(port)]
        command += ["--workers", str(workers), "--log-level", "error", "--no-access-log"]
        return Server(f"fastapi-{backend}", command, port, {"CHECKPOINT": checkpoint, "BACKEND": backend})

    return start


# --- the client -------------------------------------------------------------------------------------------------------


async def _load(
    port: int, content: bytes, kind: str, path: str, clients: int, seconds: float, rate: float | None = None
) -> dict[str, Any]:
    """`clients` keep-alive connections for `seconds`; with `rate`, requests start on a clock, whatever comes back."""
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: {len(content)}\r\n\r\n".encode()
    times: list[tuple[int, float]] = []
    begin = time.perf_counter()

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        start = time.perf_counter()
        writer.write(head + content)
        await writer.drain()
        answer = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", answer, re.IGNORECASE)
        await reader.readexactly(int(length[1]) if length else 0)
        times.append((int(answer.split()[1]), time.perf_counter() - start))
        return b"connection: close" not in answer.lower()

    async def client(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
        turn = number
        while time.perf_counter() - begin < seconds:
            if rate is not None:
                await asyncio.sleep(max(0.0, begin + turn / rate - time.perf_counter()))
                turn += clients
            if not await one(reader, writer):
                reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
        writer.close()

    await asyncio.gather(*(client(i) for i in range(clients)))
    took = time.perf_counter() - begin
    good = sorted(t for status, t in times if status == 200)
    refused = sorted(t for status, t in times if status in (429, 503))
    return {
        "ok": len(good), "rps": len(good) / took, "refused": len(refused),
        "other": len(times) - len(good) - len(refused),
        "p50_ms": _at(good, 0.5), "p99_ms": _at(good, 0.99), "refusal_p99_ms": _at(refused, 0.99),
    }  # fmt: skip


def _at(values: list[float], share: float) -> float:
    return round(values[int(share * (len(values) - 1))] * 1e3, 2) if values else float("nan")


def idle_rate(server: Server, seconds: float = 4.0) -> float:
    """Processor seconds a second while nobody asks: what Ray's own processes use all the time, whatever the load."""
    before, start = server.cpu_s(), time.perf_counter()
    time.sleep(seconds)
    return (server.cpu_s() - before) / (time.perf_counter() - start)


def load(
    server: Server, clients: int, seconds: float, *, rate: float | None = None, path: str = "/v1/predict"
) -> dict[str, Any]:
    """Load from a process of its own, with the processor time that the server used for each request meanwhile."""
    command = [sys.executable, __file__, "--client", str(server.port), path, str(clients), str(seconds), str(rate or 0)]
    before, start = server.cpu_s(), time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    used = server.cpu_s() - before - server.idle * (time.perf_counter() - start)
    found["cpu_ms"] = used / max(1, found["ok"]) * 1e3
    return found


def direct(folder: Path, checkpoint: str, backend: str, seconds: float) -> float:
    (folder / "figure.png").write_bytes(figure())
    command = [sys.executable, "-c", DIRECT, str(folder / "figure.png"), str(seconds)]
    environment = os.environ | {"CHECKPOINT": checkpoint, "BACKEND": backend, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout.splitlines()[-1])["cpu_ms"])


# --- the runs ---------------------------------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", help="default: what the service itself would take")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--client", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        port, path, clients, seconds, rate = options.client
        content, kind = (sound(), "audio/mpeg") if path.endswith("audio") else body()
        found = _load(int(port), content, kind, path, int(clients), float(seconds), float(rate) or None)
        print(json.dumps(asyncio.run(found)))
        return
    from genre_ray.serve.settings import ServeArgs, find_checkpoint

    checkpoint = options.checkpoint or find_checkpoint(ServeArgs())
    with tempfile.TemporaryDirectory() as name:
        compare(Path(name), str(Path(checkpoint).resolve()), options)


def compare(folder: Path, checkpoint: str, options: argparse.Namespace) -> None:
    servers: list[Server] = []
    try:
        for start in (service, plain("auto"), plain("eager")):  # one after the other: Ray gives up on a busy machine
            servers.append(start(folder, checkpoint, options.workers))
            servers[-1].wait()
            load(servers[-1], options.clients, 3.0)
        time.sleep(20)  # Ray starts workers ahead for a while
        rounds: dict[str, list[dict[str, Any]]] = {server.name: [] for server in servers}
        floors: list[float] = []
        for _ in range(options.rounds):
            for server in servers:
                server.idle = idle_rate(server, 2.0)
                rounds[server.name].append(load(server, options.clients, options.seconds))
            floors.append(direct(folder, checkpoint, "auto", options.seconds / 2))
        report(rounds, floors)
        overload(servers[0], statistics.median(row["rps"] for row in rounds["service"]), options)
        recording = [load(servers[0], 1, options.seconds, path="/v1/predict/audio") for _ in range(2)]
        print(f"30 s mp3: p50 {recording[-1]['p50_ms']:.0f} ms, {recording[-1]['cpu_ms']:.0f} ms of processor time")
    finally:
        for server in servers:
            server.stop()


def report(rounds: dict[str, list[dict[str, Any]]], floors: list[float]) -> None:
    for name, rows in rounds.items():
        middle = {key: statistics.median(row[key] for row in rows) for key in ("rps", "p50_ms", "p99_ms", "cpu_ms")}
        print(name, {key: round(value, 1) for key, value in middle.items()}, f"failed {sum(r['other'] for r in rows)}")
    print(f"decode + forward called directly: {statistics.median(floors):.2f} ms of processor time")
    for other in ("fastapi-auto", "fastapi-eager"):
        ratios = [a["rps"] / b["rps"] for a, b in zip(rounds["service"], rounds[other], strict=True)]
        print(f"requests/s, service / {other}: {statistics.median(ratios):.2f} (rounds {_list(ratios)})")
    costs = [row["cpu_ms"] / floor for row, floor in zip(rounds["service"], floors, strict=True)]
    plain = [row["cpu_ms"] / floor for row, floor in zip(rounds["fastapi-auto"], floors, strict=True)]
    print(f"processor time a request / direct: {statistics.median(costs):.2f} (rounds {_list(costs)})")
    print(f"  the same of FastAPI: {statistics.median(plain):.2f} (rounds {_list(plain)})")


def _list(values: list[float]) -> str:
    return ", ".join(f"{value:.2f}" for value in values)


def overload(server: Server, capacity: float, options: argparse.Namespace) -> None:
    found = load(server, 16 * options.clients, options.seconds, rate=2 * capacity)
    print(
        f"at twice the capacity: {found['rps'] / capacity:.0%} of it still answered, {found['refused']} refused, "
        f"p99 of a refusal {found['refusal_p99_ms']} ms, of an answer {found['p99_ms']} ms, failed {found['other']}"
    )


if __name__ == "__main__":
    main()
