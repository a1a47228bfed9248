"""The device a model runs on. Knows nothing about models or data."""

import ctypes
from contextlib import suppress
from functools import cache

import torch

from genre_ray.errors import ConfigError


def open_device(device: str = "auto", *, threads: int | None = None) -> torch.device:
    """The torch device of that name; `auto` is the GPU where there is one, else the CPU.

    `threads`, where given, sets how many threads one operation uses on the CPU, for the whole process. On a CPU the
    process also keeps freed memory for reuse. ConfigError when the device is not there.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ConfigError(f"device {device!r} is not known", expected="auto, cpu, cuda or cuda:N") from error
    if chosen.type == "cuda":
        if not torch.cuda.is_available() or (chosen.index or 0) >= torch.cuda.device_count():
            raise ConfigError(
                f"device {device} is not there",
                found=f"{torch.cuda.device_count()} CUDA devices",
                remedy="use device auto or cpu, or give the process a GPU",
            )
        return torch.device("cuda", torch.cuda.current_device() if chosen.index is None else chosen.index)
    if chosen.type == "cpu":
        _keep_freed_memory()
    return chosen


@cache
def _keep_freed_memory() -> None:
    """Let glibc reuse large blocks instead of returning each to the system (mallopt(3)).

    Activations of tens of megabytes are otherwise mapped, zeroed page by page and unmapped in every step: measured, up
    to half of a training step of a small CNN. Other C libraries have no such call and are left as they are.
    """
    trim_threshold, mmap_max = -1, -4  # M_TRIM_THRESHOLD and M_MMAP_MAX of malloc.h
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(mmap_max, 0)
        libc.mallopt(trim_threshold, 1 << 30)
