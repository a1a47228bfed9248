"""Load for a running service, with locust: figures and recordings in the share that you expect.

    pip install locust
    locust -f benchmarks/locustfile.py --host http://127.0.0.1:8000            a page at http://localhost:8089
    locust -f benchmarks/locustfile.py --host ... --headless -u 50 -r 5 -t 1m   50 users, in the terminal

Environment: GENRE_RAY_TOKEN; FIGURE and FEATURES (a PNG and a JSON list of 57 numbers) and SONG (an audio file) are
your own; without them a made-up figure and six seconds of a made-up sound are sent. A refusal (429, 503) with
Retry-After is counted by its own name and waited for: it is what the service promises under too much load.
"""

import io
import json
import os
import wave
from pathlib import Path
from typing import Any

import gevent
import numpy as np
from locust import HttpUser, between, task

TOKEN = os.environ.get("GENRE_RAY_TOKEN")
HEADERS = {"Authorization": f"Bearer {TOKEN}"} if TOKEN else {}


def figure() -> bytes:
    from genre_ray.spectrogram import figure_from_levels

    if "FIGURE" in os.environ:
        return Path(os.environ["FIGURE"]).read_bytes()
    walk = np.cumsum(np.random.default_rng(0).normal(0, 6, (128, 334)), axis=1) + np.linspace(200, 40, 128)[:, None]
    content = io.BytesIO()
    figure_from_levels(np.clip(walk, 0, 255).astype(np.uint8)[None]).save(content, "PNG")
    return content.getvalue()


def song() -> bytes:
    if "SONG" in os.environ:
        return Path(os.environ["SONG"]).read_bytes()
    tone = np.sin(2 * np.pi * 220 * np.arange(6 * 22050) / 22050) * 0.3
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setparams((1, 2, 22050, 0, "NONE", ""))
        file.writeframes((tone * 32767).astype("<i2").tobytes())
    return content.getvalue()


FIGURE, SONG = figure(), song()
FEATURES = Path(os.environ["FEATURES"]).read_text() if "FEATURES" in os.environ else json.dumps([0.5] * 57)


class Listener(HttpUser):
    """Asks, thinks for a moment, asks again; nine figures for each recording."""

    wait_time = between(0.1, 1.0)

    @task(9)
    def ask_with_figure(self) -> None:
        """A figure and a feature row."""
        self._ask("/v1/predict", data={"features": FEATURES}, files={"figure": ("a.png", FIGURE, "image/png")})

    @task(1)
    def ask_with_audio(self) -> None:
        """A recording."""
        self._ask("/v1/predict/audio", files={"audio": ("a.wav", SONG, "audio/wav")})

    def _ask(self, path: str, **options: Any) -> None:
        with self.client.post(path, headers=HEADERS, catch_response=True, **options) as response:
            if response.status_code in (429, 503) and "Retry-After" in response.headers:
                response.request_meta["name"] = f"{path} refused, to come back"
                response.success()
                gevent.sleep(float(response.headers["Retry-After"]))
