"""The file from which a fit goes on: written whole, read without running code. Knows nothing about what is in it."""

import os
from pathlib import Path
from typing import Any

import torch

from genre_ray.errors import RunError


def write_state(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values to `path`, under a temporary name first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    torch.save(state, temporary)
    temporary.replace(path)


def read_state(path: Path, device: torch.device) -> dict[str, Any]:
    """What `write_state` wrote, on `device`. RunError when it is missing or damaged."""
    try:
        # weights_only: tensors and plain values, no code (the file may have come over shared storage).
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError as error:
        raise RunError(f"there is no saved fit at {path}", remedy="start the fit anew") from error
    except Exception as error:  # torch raises RuntimeError, EOFError, UnpicklingError, ... for damage
        raise RunError(f"the saved fit {path} cannot be read", found=str(error).splitlines()[0]) from error
    return state
