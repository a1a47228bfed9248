"""Ten thousand damaged files at the service's door; run by itself: what it looks for may end the process.

Prints one line of JSON: answers by status, and how much memory the second half added to the first (kilobytes).
"""

import asyncio
import collections
import faulthandler
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from PIL import Image

from genre_ray.serve.engine import Engine
from genre_ray.serve.local import LocalBackend
from genre_ray.serve.settings import ServeArgs
from genre_ray.serve.web import WebApplication
from genre_ray.spectrogram import figure_from_levels

AUDIO_FORMATS = ("WAV", "FLAC", "OGG", "MP3", "AIFF", "AU")


def seeds(generator: np.random.Generator) -> list[tuple[str, bytes]]:
    """Whole files: figures for /v1/predict, sounds of a second and a half for /v1/predict/audio."""
    levels = generator.integers(0, 256, (1, 128, 334), dtype=np.uint8)
    figure = figure_from_levels(levels)
    found = [("/v1/predict", _saved(figure, "PNG")), ("/v1/predict", _saved(figure.convert("RGB"), "JPEG"))]
    sound = (0.3 * np.sin(np.arange(33_000) * 0.05) * generator.random(33_000)).astype(np.float32)
    for name in AUDIO_FORMATS:
        content = io.BytesIO()
        soundfile.write(content, np.stack([sound, sound], 1), 22050, format=name)
        found.append(("/v1/predict/audio", content.getvalue()))
    return found


def _saved(picture: Image.Image, form: str) -> bytes:
    content = io.BytesIO()
    picture.save(content, form)
    return content.getvalue()


def mutated(content: bytes, generator: np.random.Generator) -> bytes:
    """A few bytes set at random (mostly near the header), a piece cut out, doubled, or the end cut off."""
    data = bytearray(content)
    for _ in range(int(generator.integers(1, 9))):
        reach = 256 if generator.random() < 0.6 else len(data)
        place = int(generator.integers(0, max(1, min(reach, len(data)))))
        match int(generator.integers(0, 5)):
            case 0 | 1:
                data[place : place + 1] = bytes([int(generator.choice([0, 1, 127, 128, 255, generator.integers(256)]))])
            case 2:
                del data[place : place + int(generator.integers(1, 64))]
            case 3:
                data[place:place] = data[place : place + int(generator.integers(1, 64))]
            case 4 if generator.random() < 0.3:
                del data[int(generator.integers(0, len(data) + 1)) :]
        if not data:
            break
    return bytes(data)


async def ask(application: WebApplication, path: str, content: bytes, headers: list[tuple[bytes, bytes]]) -> int:
    """One request by hand; its status. Windows of a second are enough to find what breaks, and thirty times as fast."""
    sent: list[Any] = []
    query = b"clip_s=1" if path.endswith("audio") else b""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": content, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": path, "headers": headers, "query_string": query}
    await application(scope, receive, send)
    return int(sent[0]["status"])


def resident_kb() -> int:
    """Resident memory of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    return 0


def main(checkpoint: str, count: int, seed: int) -> None:
    """Ask with `count` mutated files, turn about."""
    faulthandler.enable()
    generator = np.random.default_rng(seed)
    args = ServeArgs(checkpoint=checkpoint, device="cpu", backend="eager")
    application = WebApplication(LocalBackend(Engine(args, checkpoint)), args)
    files = seeds(generator)
    row = json.dumps([0.5] * 57).encode()
    statuses: collections.Counter[str] = collections.Counter()
    middle = 0
    for i in range(count):
        path, whole = files[i % len(files)]
        content = mutated(whole, generator)
        headers = [(b"content-type", b"application/octet-stream")]
        if path == "/v1/predict":
            head = b'--B\r\nContent-Disposition: form-data; name="features"\r\n\r\n' + row
            content = (
                head + b'\r\n--B\r\nContent-Disposition: form-data; name="figure"\r\n\r\n' + content + b"\r\n--B--"
            )
            headers = [(b"content-type", b"multipart/form-data; boundary=B")]
        status = asyncio.run(ask(application, path, content, headers))
        if status >= 500 and status != 503:
            Path(f"fault-{i}.bin").write_bytes(content)
        statuses[str(status)] += 1
        if i == count // 2:
            middle = resident_kb()
    print(json.dumps({"statuses": statuses, "grown_kb": resident_kb() - middle}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
