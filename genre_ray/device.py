"""The device a model runs on. Knows nothing about models or data."""

import torch

from genre_ray.errors import ConfigError


def open_device(device: str = "auto", *, threads: int | None = None) -> torch.device:
    """The torch device of that name; `auto` is the GPU where there is one, else the CPU.

    `threads`, where given, sets how many threads one operation uses on the CPU, for the whole process. ConfigError when
    the device is not there.
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
    return chosen
