"""A directory of files that is written whole or not at all and tells when it is damaged, on disk or at a URI.

Beside the files lies `checksums.json`, the SHA-256 of each; it is read first and, at a URI, written last. Knows nothing
about what the files hold.
"""

import ctypes
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from genre_ray.errors import CheckpointDamagedError, CheckpointError, CheckpointFormatError, CheckpointNotFoundError
from genre_ray.source import local_path

CHECKSUMS = "checksums.json"
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # linux/fcntl.h and linux/fs.h
_MAKE = "make one with `python -m genre_ray.tune`, or give the path of a checkpoint directory"


def write_directory(target: str | Path, files: Mapping[str, bytes]) -> None:
    """Write `files` (name to content) as the directory `target`, replacing one that this module wrote before.

    On disk a finished directory takes the place of the old one in a single rename; a crash leaves either the old or the
    new one, whole. CheckpointError when `target` is something else than such a directory, or cannot be written.
    """
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())}
    everything = {**files, CHECKSUMS: json.dumps(sums, indent=1).encode()}
    path = local_path(target)
    try:
        if path is None:
            _write_remote(str(target), everything)
        else:
            _write_local(path, everything)
    except OSError as error:
        raise CheckpointError(
            f"the checkpoint cannot be written to {target}",
            found=str(error),
            remedy="check the permissions and the space there, or give another output directory",
        ) from error


def read_directory(target: str | Path) -> dict[str, bytes]:
    """The files of `target` (name to content), each checked against its checksum.

    CheckpointNotFoundError when there is nothing, CheckpointFormatError when it is something else,
    CheckpointDamagedError when a file is missing or altered.
    """
    sums = _read_checksums(target)
    files = {}
    for name, expected in sums.items():
        try:
            content = _read(target, name)
        except OSError as error:
            raise CheckpointDamagedError(
                f"{target}: {name} is missing",
                expected="all files of the checkpoint",
                remedy="copy the directory again",
            ) from error
        if hashlib.sha256(content).hexdigest() != expected:
            raise CheckpointDamagedError(
                f"{target}: {name} is damaged",
                found=f"{len(content)} bytes with SHA-256 {hashlib.sha256(content).hexdigest()[:12]}...",
                expected=f"SHA-256 {expected[:12]}...",
                remedy="copy the directory again from where it was made, or train again",
            )
        files[name] = content
    return files


def _read_checksums(target: str | Path) -> dict[str, str]:
    try:
        content = _read(target, CHECKSUMS)
    except OSError as error:
        if _exists(target):
            raise CheckpointFormatError(
                f"{target} is not a checkpoint of genre_ray",
                found=f"no {CHECKSUMS} there",
                expected="a directory with manifest.json, checksums.json and weights",
                remedy=_MAKE,
            ) from error
        raise CheckpointNotFoundError(f"there is no checkpoint at {target}", remedy=_MAKE) from error
    try:
        sums = json.loads(content)
        if not all(isinstance(value, str) and Path(name).name == name for name, value in sums.items()):
            raise ValueError("not a table of plain file names and checksums")
    except (ValueError, AttributeError) as error:
        raise CheckpointDamagedError(
            f"{target}: {CHECKSUMS} is damaged", found=str(error), remedy="copy the directory again"
        ) from error
    checked: dict[str, str] = sums
    return checked


def _read(target: str | Path, name: str) -> bytes:
    path = local_path(target)
    if path is not None:
        return (path / name).read_bytes()
    filesystem, folder = _remote(str(target))
    with filesystem.open_input_stream(f"{folder}/{name}") as stream:
        content: bytes = stream.read()
    return content


def _exists(target: str | Path) -> bool:
    path = local_path(target)
    if path is not None:
        return path.exists()
    from pyarrow import fs

    filesystem, folder = _remote(str(target))
    return bool(filesystem.get_file_info(folder).type != fs.FileType.NotFound)


def _remote(uri: str) -> tuple[Any, str]:
    from pyarrow import ArrowException, fs

    try:
        filesystem, folder = fs.FileSystem.from_uri(uri)
    except (ArrowException, ValueError) as error:
        raise CheckpointNotFoundError(
            f"{uri} is not a place that can be reached", found=str(error), expected="a path, s3://, gs:// or file://"
        ) from error
    return filesystem, folder.rstrip("/")


def _write_remote(uri: str, files: Mapping[str, bytes]) -> None:
    filesystem, folder = _remote(uri)
    filesystem.create_dir(folder, recursive=True)
    # The checksums come last: until they are there, or while they are of another writing, nothing opens what lies here.
    for name in sorted(files, key=lambda name: (name == CHECKSUMS, name)):
        with filesystem.open_output_stream(f"{folder}/{name}") as stream:
            stream.write(files[name])


def _write_local(target: Path, files: Mapping[str, bytes]) -> None:
    if target.exists() and not (target / CHECKSUMS).exists() and (not target.is_dir() or any(target.iterdir())):
        raise CheckpointError(
            f"{target} is in the way",
            found="something that is not a checkpoint",
            expected="a free path, an empty directory or an older checkpoint",
            remedy="give another output directory",
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        temporary.chmod(0o755)  # mkdtemp's 0700 would hide a checkpoint on shared storage from its readers
        for name, content in files.items():
            with (temporary / name).open("wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
        if target.exists():
            _exchange(temporary, target)
        else:
            temporary.replace(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _exchange(new: Path, old: Path) -> None:
    """Swap two directories in one step where the system can, else in two."""
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.renameat2(_AT_FDCWD, os.fsencode(new), _AT_FDCWD, os.fsencode(old), _RENAME_EXCHANGE) == 0:
            return
    aside = new.with_name(new.name + ".old")
    old.replace(aside)
    new.replace(old)
    aside.replace(new)
