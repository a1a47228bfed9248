"""How many replicas a service has while its load rises and falls: serve_configs/hybrid.yaml with shorter waits.

    python benchmarks/replicas.py [--checkpoint DIR] [--timeline timeline.json] [--plot docs/replicas.svg]

A real service (HAProxy, Serve's controller, replicas) on a Ray told of four processors; clients that ask without
pause, 1, 6, 24, 6, 1 of them. Prints each change of the number of replicas, and how many answers there were.
"""

import argparse
import base64
import io
import json
import os
import socket
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import yaml

ROOT = Path(__file__).parents[1]
PHASES = ((1, 15.0), (6, 25.0), (24, 40.0), (6, 40.0), (1, 40.0))
"""Clients, and for how many seconds."""

SCALING = {"max_replicas": 4, "upscale_delay_s": 2.0, "downscale_delay_s": 12.0}
"""Instead of 16 replicas, 5 s and 120 s."""

Timeline = list[tuple[float, int, int]]
"""Seconds, clients, replicas that run."""


def configuration(checkpoint: str | None, folder: Path) -> Path:
    document = yaml.safe_load((ROOT / "serve_configs/hybrid.yaml").read_text(encoding="utf-8"))
    document["http_options"]["port"] = _free_port()
    environment = document["controller_options"]["runtime_env"]["env_vars"]
    environment |= {
        "RAY_SERVE_HAPROXY_STATS_PORT": str(_free_port()),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(_free_port()),
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(folder / "haproxy"),
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": "32200",
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": "32400",
    }
    application = document["applications"][0]
    application["args"]["checkpoint"] = checkpoint
    figures = next(entry for entry in application["deployments"] if entry["name"] == "Figures")
    figures["autoscaling_config"] |= SCALING
    path = folder / "service.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def question() -> dict[str, Any]:
    from genre_ray.spectrogram import figure_from_levels

    content = io.BytesIO()
    figure_from_levels(np.random.default_rng(0).integers(0, 256, (1, 128, 334), dtype=np.uint8)).save(content, "PNG")
    return {"figure": base64.b64encode(content.getvalue()).decode(), "features": [0.5] * 57}


class Load:
    """Clients that ask without pause; `clients` may be changed at any time."""

    def __init__(self, url: str, most: int) -> None:
        self.clients = 0
        self.counts: Counter[int] = Counter()
        self._url, self._body, self._stop, self._lock = url, question(), threading.Event(), threading.Lock()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(most)]
        for thread in self._threads:
            thread.start()

    def _ask(self, number: int) -> None:
        with httpx.Client(base_url=self._url, timeout=60.0) as client:
            while not self._stop.is_set():
                if number >= self.clients:
                    time.sleep(0.05)
                    continue
                try:
                    status = client.post("/v1/predict", json=self._body).status_code
                except httpx.HTTPError:
                    status = -1
                with self._lock:
                    self.counts[status] += 1

    def stop(self) -> None:
        """End the clients."""
        self._stop.set()
        for thread in self._threads:
            thread.join()


def measure(checkpoint: str | None) -> tuple[Timeline, Counter[int]]:
    """The timeline of one rise and fall, until there is one replica again or two minutes have passed."""
    import ray
    from ray import serve

    from genre_ray.serve import run

    with tempfile.TemporaryDirectory(prefix="replicas-", ignore_cleanup_errors=True) as folder:
        ray.init(address="local", namespace="serve", num_cpus=4, include_dashboard=False, log_to_driver=False)
        timeline: Timeline = []
        url = run(configuration(checkpoint, Path(folder)), blocking=False)
        load = Load(url, max(clients for clients, _ in PHASES))
        began = time.monotonic()

        def watch(until: float) -> None:
            while time.monotonic() < until:
                states = serve.status().applications["genre"].deployments["Figures"].replica_states
                running = sum(count for state, count in states.items() if str(state).endswith("RUNNING"))
                timeline.append((round(time.monotonic() - began, 2), load.clients, running))
                if load.clients == 0 and running == 1:
                    return
                time.sleep(0.5)

        try:
            for clients, seconds in PHASES:
                load.clients = clients
                watch(time.monotonic() + seconds)
            load.clients = 0
            watch(time.monotonic() + 120.0)
        finally:
            load.stop()
            serve.shutdown()
            ray.shutdown()
    return timeline, load.counts


def steps(timeline: Timeline) -> list[tuple[float, int]]:
    """When the number of replicas changed, and to what."""
    return [
        (seconds, replicas)
        for place, (seconds, _, replicas) in enumerate(timeline)
        if place == 0 or timeline[place - 1][2] != replicas
    ]


def draw(timeline: Timeline, target: Path) -> None:
    import matplotlib.pyplot as plt

    seconds = [entry[0] for entry in timeline]
    figure, axes = plt.subplots(figsize=(8, 2.4), layout="constrained")
    axes.step(seconds, [entry[2] for entry in timeline], where="post", label="replicas", linewidth=2)
    axes.step(seconds, [entry[1] for entry in timeline], where="post", label="clients", linestyle=":", linewidth=1.5)
    axes.set(xlabel="seconds", ylabel="replicas, clients", xlim=(0, seconds[-1]), ylim=(0, None))
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.legend(loc="upper right")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(target, metadata={"Date": None})


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--checkpoint", help="without it the one that ships with the package")
    options.add_argument("--timeline", type=Path)
    options.add_argument("--plot", type=Path)
    given = options.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    seen, counts = measure(given.checkpoint)
    for second, count in steps(seen):
        print(f"{second:6.1f} s  {count} replicas")
    print("answers by status:", dict(counts))
    if given.timeline:
        given.timeline.write_text(json.dumps({"timeline": seen, "counts": counts}), encoding="utf-8")
    if given.plot:
        draw(seen, given.plot)
