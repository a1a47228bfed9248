"""Bytes from wherever a Source points: a path, a URI, or bytes at hand. Knows nothing about what they hold."""

import io
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import unquote, urlsplit

from genre_ray.errors import AudioError, TrackError
from genre_ray.schema import Source

_SHOWN = 120
_SHOWN_CAUSE = 300
_REMOTE_READ = 1 << 20
_GCS_RETRY_S = 10


def is_uri(source: Source) -> bool:
    """Whether `source` is text such as `s3://bucket/key`."""
    return isinstance(source, str) and "://" in source


def name_of(source: Source, track: str | None = None) -> str:
    """How a source is called in messages: the track's id, else the path or URI, else its number of bytes."""
    if track is not None:
        return track
    if isinstance(source, bytes):
        return f"<{len(source)} bytes>"
    text = re.sub(r"//[^/@]*@", "//***@", str(source))
    return text if len(text) <= _SHOWN else f"...{text[-_SHOWN:]}"


def local_path(source: Source) -> Path | None:
    """The local file that `source` names (`file://` included), or None for bytes and remote URIs."""
    if isinstance(source, bytes):
        return None
    if isinstance(source, str) and is_uri(source):
        parts = urlsplit(source)
        return Path(unquote(parts.path)) if parts.scheme == "file" and parts.netloc in ("", "localhost") else None
    return Path(source)


def size_of(source: Source, *, track: str | None = None, kind: type[TrackError] = AudioError) -> int:
    """Number of bytes; raises `kind` with kind "not_found" where there is no such file, or none that can be read."""
    name = name_of(source, track)
    if isinstance(source, bytes):
        return len(source)
    path = local_path(source)
    if path is None:
        return _remote_size(str(source), name, kind)
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        raise _not_found(name, kind, str(error)) from error
    if not stat.S_ISREG(status.st_mode):
        raise _not_found(name, kind, "a folder, pipe or device")
    return status.st_size


@contextmanager
def open_binary(source: Source, *, track: str | None = None, kind: type[TrackError] = AudioError) -> Iterator[BinaryIO]:
    """A seekable binary stream over `source`; remote objects are read in pieces as they are needed.

    Raises `kind` with kind "not_found"; and on leaving, "unreachable" where remote storage failed in between, whatever
    a decoder made of the bytes that it had got.
    """
    size_of(source, track=track, kind=kind)
    if isinstance(source, bytes):
        yield io.BytesIO(source)
        return
    path = local_path(source)
    try:
        stream = path.open("rb") if path is not None else _open_remote(str(source))
    except (OSError, ValueError) as error:
        raise _not_found(name_of(source, track), kind, str(error)) from error
    if path is not None:
        with stream:
            yield stream
        return
    watched = _Watched(stream)
    try:
        with stream:
            yield cast(BinaryIO, watched)
    except Exception as error:
        if watched.error is None:
            raise
        raise _unreachable(name_of(source, track), kind, watched.error) from error
    if watched.error is not None:
        raise _unreachable(name_of(source, track), kind, watched.error) from watched.error


class _Watched(io.BufferedIOBase):
    """A remote stream that ends where reading fails, and keeps the error for those who would take it for damage."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.error: OSError | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._stream.tell()

    def seek(self, offset: int, whence: int = 0) -> int:
        # Not watched: a damaged file leads decoders to impossible places.
        return self._stream.seek(offset, whence)

    def read(self, size: int | None = -1) -> bytes:
        if self.error is not None:
            return b""
        try:
            return self._stream.read(-1 if size is None else size)
        except OSError as error:
            self.error = error
            return b""


def read_bytes(source: Source, *, limit: int, track: str | None = None, kind: type[TrackError] = AudioError) -> bytes:
    """All bytes of `source`, at most `limit` of them.

    Raises `kind` with kind "not_found" (missing, a folder, not permitted), "unreachable" or "too_large".
    """
    size = size_of(source, track=track, kind=kind)
    refuse_too_large(size, limit=limit, name=name_of(source, track), track=track, kind=kind)
    if isinstance(source, bytes):
        return source
    with open_binary(source, track=track, kind=kind) as stream:
        data = stream.read(min(limit, size) + 1)  # memory for what is there, not for what would be allowed
    refuse_too_large(len(data), limit=limit, name=name_of(source, track), track=track, kind=kind)
    return data


def refuse_too_large(size: int, *, limit: int, name: str, track: str | None, kind: type[TrackError]) -> None:
    """Raise `kind` with kind "too_large" when `size` bytes exceed `limit`."""
    if size > limit:
        raise kind(
            f"{name}: larger than the limit",
            kind="too_large",
            track=track,
            found=f"{size} bytes",
            expected=f"at most {limit} bytes",
            remedy="cut the file or raise the limit",
        )


def _remote_size(uri: str, name: str, kind: type[TrackError]) -> int:
    from pyarrow import ArrowException, fs

    try:
        filesystem, path = _filesystem(uri)
        info = filesystem.get_file_info(path)
    except (OSError, ValueError, ArrowException) as error:
        raise _not_found(name, kind, str(error)) from error
    if info.type != fs.FileType.File:
        raise _not_found(name, kind, f"{info.type.name} at the URI")
    return int(info.size)


def _open_remote(uri: str) -> BinaryIO:
    filesystem, path = _filesystem(uri)
    return cast(BinaryIO, io.BufferedReader(filesystem.open_input_file(path), _REMOTE_READ))


def _filesystem(uri: str) -> tuple[Any, str]:
    """Arrow's file system and the path in it. Google's client would retry for a quarter of an hour by default."""
    from pyarrow import fs

    if uri.startswith(("gs://", "gcs://")) and "retry_limit_seconds" not in uri:
        uri += f"{'&' if '?' in uri else '?'}retry_limit_seconds={_GCS_RETRY_S}"
    filesystem, path = fs.FileSystem.from_uri(uri)
    return filesystem, path


def _unreachable(name: str, kind: type[TrackError], error: OSError) -> TrackError:
    return kind(
        f"{name}: cannot be read to its end",
        kind="unreachable",
        track=name,
        found=str(error)[:_SHOWN_CAUSE],
        expected="storage that answers",
        remedy="try again when it does",
    )


def _not_found(name: str, kind: type[TrackError], found: str) -> TrackError:
    return kind(
        f"{name}: cannot be read",
        kind="not_found",
        track=name,
        found=found[:_SHOWN_CAUSE],
        expected="a readable file, or a URI such as s3://bucket/key",
        remedy="check the path and its permissions",
    )
