"""How fast the service is beside a hand-written one: the same model, body and number of workers, turn about in one run.

    python benchmarks/serve.py [--checkpoint DIR] [--rounds 4] [--seconds 5] [--workers 2] [--clients 8]
                               [--against litserve bentoml] [--python /tmp/other/bin/python]

Prints medians over the rounds of ratios within a round: requests a second against FastAPI + uvicorn with the same
engine, and with Pillow and eager torch; processor time a request against the same work called directly, by as many
processes at once; what is answered and refused under twice the capacity; the time of a recording. The client is a
process of its own on raw sockets, whose share of the processor is printed.

LitServe and BentoML are compared where --python names an interpreter that has them:
    python -m venv /tmp/other && /tmp/other/bin/pip install -e . litserve bentoml
"""

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import servers
from servers import Server

HERE = Path(__file__).parent
BOUNDARY = b"----formboundary7MA4YWxkTrZu0gW"  # of a length that browsers choose
MULTIPART = f"multipart/form-data; boundary={BOUNDARY.decode()}"
ROW = json.dumps([0.5] * 57)

# --- the question -----------------------------------------------------------------------------------------------------


def figure() -> bytes:
    """A figure as hard to unpack as a real one: smooth in time, rough in frequency."""
    from genre_ray.spectrogram import figure_from_levels

    generator = np.random.default_rng(0)
    walk = np.cumsum(generator.normal(0, 6, (128, 334)), axis=1) + np.linspace(200, 40, 128)[:, None]
    content = io.BytesIO()
    figure_from_levels(np.clip(walk, 0, 255).astype(np.uint8)[None]).save(content, "PNG")
    return content.getvalue()


def body() -> bytes:
    return b"\r\n".join((
        b"--" + BOUNDARY, b'Content-Disposition: form-data; name="features"', b"", ROW.encode(),
        b"--" + BOUNDARY, b'Content-Disposition: form-data; name="figure"; filename="a.png"',
        b"Content-Type: image/png", b"", figure(),
        b"--" + BOUNDARY + b"--", b"",
    ))  # fmt: skip


def sound() -> bytes:
    """Thirty seconds of mp3."""
    import soundfile

    seconds = np.arange(22050 * 30) / 22050
    tone = sum(np.sin(2 * np.pi * f * seconds) / (i + 1) for i, f in enumerate((110, 220, 331, 1203)))
    noise = np.random.default_rng(0).normal(0, 0.2, len(seconds)) * (np.sin(2 * np.pi * 2 * seconds) > 0.6)
    content = io.BytesIO()
    soundfile.write(content, (0.2 * (tone + noise)).astype(np.float32), 22050, format="MP3")
    return content.getvalue()


# --- load -------------------------------------------------------------------------------------------------------------


def load(
    server: Server, folder: Path, clients: int, seconds: float, *, rate: float = 0.0, audio: bool = False
) -> dict[str, Any]:
    """Load from a process of its own, with the processor time that the server used for each request meanwhile."""
    path, name, kind = ("/v1/predict/audio", "sound", "audio/mpeg") if audio else ("/v1/predict", "body", MULTIPART)
    command = [sys.executable, HERE / "load.py", server.port, path, clients, seconds, rate, folder / name, kind]
    before, start = server.cpu_s(), time.perf_counter()
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode != 0:
        raise ConnectionError(done.stderr[-300:])
    found: dict[str, Any] = json.loads(done.stdout)
    used = server.cpu_s() - before - server.idle * (time.perf_counter() - start)
    found["cpu_ms"] = used / max(1, found["ok"]) * 1e3
    return found


def idle_rate(server: Server, seconds: float) -> float:
    """Processor seconds a second while nobody asks: what Ray's own processes use all the time, whatever the load."""
    before, start = server.cpu_s(), time.perf_counter()
    time.sleep(seconds)
    return (server.cpu_s() - before) / (time.perf_counter() - start)


def direct(folder: Path, checkpoint: str, workers: int, seconds: float) -> float:
    """Processor ms of decode and forward, called by as many processes at once as there are workers."""
    command = [sys.executable, "-c", servers.DIRECT, str(folder / "figure.png"), str(seconds)]
    environment = os.environ | {
        "CHECKPOINT": checkpoint, "BACKEND": "auto", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(folder)
    }  # fmt: skip
    running = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(workers)]
    found = [json.loads(process.communicate()[0].splitlines()[-1])["cpu_ms"] for process in running]
    return statistics.mean(found)


# --- the runs ---------------------------------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", help="default: what the service itself would take")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument(
        "--against", nargs="*", default=["fastapi", "plain", "litserve", "bentoml"],
        choices=["fastapi", "plain", "litserve", "bentoml"],
    )  # fmt: skip
    parser.add_argument("--python", default=sys.executable, help="an interpreter that has litserve and bentoml")
    options = parser.parse_args()
    from genre_ray.serve.settings import ServeArgs, find_checkpoint

    checkpoint = options.checkpoint or find_checkpoint(ServeArgs())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        servers.write_sources(folder)
        for file, content in (("body", body()), ("sound", sound()), ("figure.png", figure())):
            (folder / file).write_bytes(content)
        compare(folder, str(Path(checkpoint).resolve()), options)


def starts(options: argparse.Namespace) -> list[servers.Start]:
    chosen: list[servers.Start] = [servers.service]
    known = {
        "fastapi": servers.fastapi("auto"),
        "plain": servers.fastapi("plain"),
        "litserve": servers.litserve(options.python),
        "bentoml": servers.bentoml(options.python),
    }
    for name in options.against:
        if (
            name in ("litserve", "bentoml")
            and subprocess.run([options.python, "-c", f"import {name}"], capture_output=True).returncode
        ):
            print(f"{name} is left out: {options.python} does not have it (see --help for how to install it)")
            continue
        chosen.append(known[name])
    return chosen


def compare(folder: Path, checkpoint: str, options: argparse.Namespace) -> None:
    running: list[Server] = []
    try:
        for start in starts(options):  # one after the other: Ray gives up on a busy machine
            running.append(start(folder, checkpoint, options.workers))
            running[-1].wait(lambda server: answers(server, folder))
            load(running[-1], folder, options.clients, 2.0)
        time.sleep(15)  # Ray starts workers ahead for a while
        rounds: dict[str, list[dict[str, Any]]] = {server.name: [] for server in running}
        floors: list[float] = []
        for _ in range(options.rounds):
            for server in running:
                server.idle = idle_rate(server, 1.0)
                rounds[server.name].append(load(server, folder, options.clients, options.seconds))
            floors.append(direct(folder, checkpoint, options.workers, options.seconds / 2))
        report(rounds, floors)
        overload(running[0], folder, options)
        heard = [load(running[0], folder, 1, options.seconds, audio=True) for _ in range(2)][-1]
        print(f"30 s mp3: p50 {heard['p50_ms']:.0f} ms, {heard['cpu_ms']:.0f} ms of processor time")
    finally:
        for server in running:
            server.stop()


def answers(server: Server, folder: Path) -> bool:
    try:
        found = load(server, folder, 1, 0.05)
    except ConnectionError:
        return False
    return bool(found["ok"])


def report(rounds: dict[str, list[dict[str, Any]]], floors: list[float]) -> None:
    shown = ("rps", "p50_ms", "p99_ms", "cpu_ms", "client_ms")
    for name, rows in rounds.items():
        middle = {key: round(statistics.median(row[key] for row in rows), 1) for key in shown}
        print(name, middle, f"failed {sum(row['other'] + row['refused'] for row in rows)}")
    print(f"decode + forward called directly: {statistics.median(floors):.2f} ms of processor time")
    ours = rounds["service"]
    for other, rows in rounds.items():
        if other != "service":
            print_ratio(
                f"requests/s, service / {other}", [a["rps"] / b["rps"] for a, b in zip(ours, rows, strict=True)]
            )
    for name, rows in rounds.items():
        if name != "fastapi-plain":
            ratios = [row["cpu_ms"] / floor for row, floor in zip(rows, floors, strict=True)]
            print_ratio(f"processor time a request / direct, {name}", ratios)


def print_ratio(name: str, values: list[float]) -> None:
    print(f"{name}: {statistics.median(values):.2f} (rounds {', '.join(f'{value:.2f}' for value in values)})")


def overload(server: Server, folder: Path, options: argparse.Namespace) -> None:
    """Capacity and twice the capacity, turn about."""
    shares, rows = [], []
    for _ in range(options.rounds):
        capacity = load(server, folder, options.clients, options.seconds)["rps"]
        rows.append(load(server, folder, 16 * options.clients, options.seconds, rate=2 * capacity))
        shares.append(rows[-1]["rps"] / capacity)
    print_ratio("at twice the capacity, share of it still answered", shares)
    middle = {key: statistics.median(row[key] for row in rows) for key in ("refusal_p99_ms", "p99_ms", "asked", "rps")}
    print(
        f"  asked {middle['asked']:.0f}/s, answered {middle['rps']:.0f}/s; p99 of a refusal {middle['refusal_p99_ms']} "
        f"ms, of an answer {middle['p99_ms']} ms; failed {sum(row['other'] for row in rows)}"
    )


if __name__ == "__main__":
    main()
