"""The servers that benchmarks/serve.py compares: ours, and others as people write them, all around one engine."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
TICKS = os.sysconf("SC_CLK_TCK")

# What they all answer with. BACKEND plain: Pillow decodes, eager torch answers, window by window.
ENGINE = """
import json, os
import numpy as np
from genre_ray.inference import Predictor
from genre_ray.schema import Track
def opened():
    predictor = Predictor.open(os.environ["CHECKPOINT"], device="cpu", threads=1)
    if os.environ["BACKEND"] == "plain":
        from genre_ray import figure, scoring
        figure.plain_rgba = lambda data, width, height: None
        scoring._TOGETHER = 0
    else:
        from genre_ray.serve.quickening import quicken
        quicken(predictor, os.environ["BACKEND"])
    predictor.warm_up()
    return predictor
def answer(predictor, figure, features):
    row = np.array(features, dtype=np.float64)
    found = predictor.predict(Track(id="r", figure=figure, features=row))
    return {"label": found.label, "probabilities": dict(zip(found.labels, found.probabilities.tolist()))}
"""

FASTAPI = """
import json
from typing import Annotated
from fastapi import FastAPI, Form, UploadFile
from engine import answer, opened
predictor = opened()
api = FastAPI()
@api.post("/v1/predict")
async def predict(figure: UploadFile, features: Annotated[str, Form()]):
    return answer(predictor, await figure.read(), json.loads(features))
"""

LITSERVE = """
import json, sys
import litserve
from engine import answer, opened
class Genre(litserve.LitAPI):
    def setup(self, device):
        self.predictor = opened()
    def decode_request(self, request):
        return request["figure"].file.read(), json.loads(request["features"])
    def predict(self, question):
        return answer(self.predictor, *question)
    def encode_response(self, output):
        return output
if __name__ == "__main__":
    port, workers = int(sys.argv[1]), int(sys.argv[2])
    server = litserve.LitServer(Genre(api_path="/v1/predict"), accelerator="cpu", workers_per_device=workers)
    server.run(port=port, num_api_servers=1, generate_client_file=False, log_level="error")
"""

BENTOML = """
import json, os
from pathlib import Path
import bentoml
from engine import answer, opened
@bentoml.service(workers=int(os.environ["WORKERS"]), traffic={"timeout": 60}, logging={"access": {"enabled": False}})
class Genre:
    def __init__(self):
        self.predictor = opened()
    @bentoml.api(route="/v1/predict")
    def predict(self, figure: Path, features: list[float]) -> dict:
        return answer(self.predictor, figure.read_bytes(), features)
"""

SERVICE = """
import logging, sys
logging.basicConfig(level=logging.INFO)
from genre_ray.serve import run
run(sys.argv[1], timeout_s=400)
"""

DIRECT = """
import json, sys, time
import numpy as np
from engine import opened
from genre_ray.schema import Track
predictor = opened()
track = Track(id="r", figure=open(sys.argv[1], "rb").read(), features=np.full(57, 0.5))
for _ in range(20): predictor.predict(track)
end, count, start = time.time() + float(sys.argv[2]), 0, time.process_time()
while time.time() < end:
    predictor.predict(track); count += 1
print(json.dumps({"cpu_ms": (time.process_time() - start) / count * 1e3}))
"""

Start = Callable[[Path, str, int], "Server"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A server in processes of its own, and what they have used."""

    def __init__(self, name: str, command: list[str], port: int, environment: dict[str, str], folder: Path) -> None:
        self.name, self.port = name, port
        self.idle = 0.0
        self.log = tempfile.NamedTemporaryFile("w+", suffix=".log")  # noqa: SIM115 - as long as the server
        self.process = subprocess.Popen(
            command,
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(folder)} | environment,
            stdout=self.log,
            stderr=self.log,
            cwd=folder,
            start_new_session=True,
        )

    def wait(self, asks: Callable[["Server"], bool], seconds: float = 400) -> None:
        """Until it answers a question."""
        end = time.time() + seconds
        while time.time() < end and self.process.poll() is None:
            if asks(self):
                return
            time.sleep(1)
        raise SystemExit(f"{self.name} did not start: {Path(self.log.name).read_text()[-2000:]}")

    def cpu_s(self) -> float:
        """Processor seconds of the process and all below it."""
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
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
        with suppress(ProcessLookupError):  # LitServe leaves its workers behind
            os.killpg(self.process.pid, signal.SIGKILL)


def service(folder: Path, checkpoint: str, workers: int) -> Server:
    """Ours, by serve_configs/hybrid.yaml with a fixed number of replicas."""
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
    application["args"] |= {"checkpoint": checkpoint}
    figures, recordings = application["deployments"]
    for deployment, count in ((figures, workers), (recordings, 1)):
        del deployment["autoscaling_config"]
        deployment["num_replicas"] = count
        deployment["ray_actor_options"] = {"num_cpus": 0.3}
    path = folder / "service.yaml"
    path.write_text(yaml.safe_dump(document))
    return Server("service", [sys.executable, "-c", SERVICE, str(path)], port, {}, folder)


def fastapi(backend: str) -> Start:
    """FastAPI + uvicorn with as many workers, no access log."""

    def start(folder: Path, checkpoint: str, workers: int) -> Server:
        port = free_port()
        command = [sys.executable, "-m", "uvicorn", "fastapi_server:api", "--port", str(port)]
        command += ["--workers", str(workers), "--log-level", "error", "--no-access-log"]
        return Server(f"fastapi-{backend}", command, port, {"CHECKPOINT": checkpoint, "BACKEND": backend}, folder)

    return start


def litserve(python: str) -> Start:
    """LitServe without batches, which on a processor are no faster."""

    def start(folder: Path, checkpoint: str, workers: int) -> Server:
        port = free_port()
        command = [python, "litserve_server.py", str(port), str(workers)]
        return Server("litserve", command, port, {"CHECKPOINT": checkpoint, "BACKEND": "auto"}, folder)

    return start


def bentoml(python: str) -> Start:
    """BentoML with as many workers."""

    def start(folder: Path, checkpoint: str, workers: int) -> Server:
        port = free_port()
        command = [python, "-m", "bentoml", "serve", "bentoml_server:Genre", "--port", str(port)]
        environment = {
            "CHECKPOINT": checkpoint,
            "BACKEND": "auto",
            "WORKERS": str(workers),
            "BENTOML_DO_NOT_TRACK": "1",
        }
        return Server("bentoml", command, port, environment, folder)

    return start


def write_sources(folder: Path) -> None:
    """The sources above as modules in `folder`, where the servers run."""
    sources = {"engine": ENGINE, "fastapi_server": FASTAPI, "litserve_server": LITSERVE, "bentoml_server": BENTOML}
    for name, source in sources.items():
        (folder / f"{name}.py").write_text(source)
