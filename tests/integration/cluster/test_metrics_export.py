"""Our metrics as Prometheus sees them: a real Ray, scraped."""

import os
import re
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(300)]

PROGRAM = """
import io, sys, time, urllib.request
import numpy as np
import ray
import genre_ray
from genre_ray.data.store import Entry
from genre_ray.data.telemetry import WorkTelemetry
from genre_ray.schema import Track
from genre_ray.serve.engine import Engine
from genre_ray.serve.exchange import Request, Response
from genre_ray.serve.protocol import Options
from genre_ray.serve.settings import ServeArgs
from genre_ray.serve.telemetry import BatchSizes, RayTelemetry
from genre_ray.spectrogram import figure_from_levels
from genre_ray.tune.telemetry import SearchTelemetry

checkpoint = genre_ray.__path__[0] + "/default_checkpoint"
engine = Engine(ServeArgs(checkpoint=checkpoint, device="cpu", unsure_below=0.999), checkpoint)
picture = io.BytesIO()
figure_from_levels(np.zeros((1, 128, 334), np.uint8)).save(picture, "PNG")

port = int(sys.argv[1])
ray.init(address="local", num_cpus=1, include_dashboard=False, _metrics_export_port=port, _temp_dir=sys.argv[2])
work, search = WorkTelemetry("Extraction"), SearchTelemetry("macro_f1")
service = RayTelemetry(engine)
work.finished([Entry("a", "1", rows=1), Entry("b", "2", kind="truncated", message="cut")])
work.cached(3)
search.running(2)
search.ended("done", 0.75)
answered = engine.answer(Track(id="t", figure=picture.getvalue(), features=np.zeros(57)), Options())
for _ in range(256):  # so often that drift is looked at
    service.answered(answered)
asked = Request(method="POST", path="/v1/predict", query="", headers={}, id="r")
BatchSizes().add(8)
service.finished(asked, "/v1/predict", Response(200, b""), 0.5)
deadline = time.monotonic() + 120
seen = ""
while time.monotonic() < deadline and not all(name in seen for name in sys.argv[3:]):
    time.sleep(2)
    try:
        seen = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).read().decode()
    except OSError:
        pass
time.sleep(25)  # two exports later, with nothing set meanwhile
seen = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).read().decode()
print("\\n".join(line for line in seen.splitlines() if line.startswith("ray_genre_ray_")))
"""

EXPECTED = {
    "ray_genre_ray_tracks_total": {"work": "Extraction", "outcome": "cached"},
    "ray_genre_ray_track_errors_total": {"work": "Extraction", "kind": "truncated"},
    "ray_genre_ray_trials_running": {},
    "ray_genre_ray_trials_total": {"outcome": "done"},
    "ray_genre_ray_best_score": {"metric": "macro_f1"},
    "ray_genre_ray_stage_seconds_bucket": {"stage": "forward", "le": "1.0"},
    "ray_genre_ray_batch_size_bucket": {"le": "8.0"},
    "ray_genre_ray_request_seconds_bucket": {"path": "/v1/predict", "le": "0.5"},
    "ray_genre_ray_requests_total": {"path": "/v1/predict", "status": "200"},
    "ray_genre_ray_population_stability": {"of": "predictions"},
}
VALUES = {"ray_genre_ray_tracks_total": 3.0, "ray_genre_ray_trials_running": 2.0, "ray_genre_ray_best_score": 0.75}


def test_ray_exports_them_under_the_names_that_the_dashboard_asks_for(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(PROGRAM), encoding="utf-8")
    from tests.integration.cluster.fake_nodes import free_ports

    (port,) = free_ports(1)
    environment = os.environ | {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    with tempfile.TemporaryDirectory(prefix="gm", ignore_cleanup_errors=True) as short:
        done = subprocess.run(
            [sys.executable, str(program), str(port), short, *EXPECTED],
            capture_output=True,
            text=True,
            env=environment,
            timeout=280,
            check=False,
        )
    assert done.returncode == 0, done.stderr[-3000:]
    lines = done.stdout.splitlines()
    exported = {line.partition("{")[0] for line in lines}
    dashboard = (Path(__file__).parents[3] / "cluster" / "grafana" / "genre_ray.json").read_text(encoding="utf-8")
    assert set(re.findall(r"ray_genre_ray_\w+", dashboard)) <= exported
    for name, labels in EXPECTED.items():
        fitting = [
            line
            for line in lines
            if line.startswith(f"{name}{{") and all(f'{key}="{value}"' in line for key, value in labels.items())
        ]
        assert fitting, (name, lines, done.stderr[-1000:])
        if name in VALUES:
            assert float(fitting[-1].rsplit(" ", 1)[1]) == VALUES[name]
