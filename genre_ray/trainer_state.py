"""The file from which a fit goes on: written whole, checked, read without running code. Knows not what it holds."""

import hashlib
import io
import os
from pathlib import Path
from typing import Any

import torch

from genre_ray.errors import RunError

_DIGEST_BYTES = hashlib.sha256().digest_size


def write_state(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values to `path`, under a temporary name first. OSError when the disk is full."""
    content = io.BytesIO()  # not straight to the disk: a full one makes torch raise a RuntimeError
    torch.save(state, content)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        # torch reads over a flipped bit in a tensor without a word, so the file ends with its own SHA-256.
        temporary.write_bytes(content.getvalue() + hashlib.sha256(content.getbuffer()).digest())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_state(path: Path, device: torch.device) -> dict[str, Any]:
    """What `write_state` wrote, on `device`. RunError when it is missing or damaged."""
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise RunError(f"there is no saved fit at {path}", remedy="start the fit anew") from error
    except OSError as error:
        raise RunError(f"the saved fit {path} cannot be read", found=str(error)) from error
    content, digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
    if hashlib.sha256(content).digest() != digest:
        raise RunError(f"the saved fit {path} cannot be read", found="content that does not match its checksum")
    try:
        # weights_only: tensors and plain values, no code (the file may have come over shared storage).
        state: dict[str, Any] = torch.load(io.BytesIO(content), map_location=device, weights_only=True)
    except Exception as error:  # torch raises RuntimeError, UnpicklingError, ... for what another version wrote
        raise RunError(f"the saved fit {path} cannot be read", found=str(error).splitlines()[0]) from error
    return state
