"""A first look into each file: is its header sound, and what is its content's digest. Knows nothing about layouts.

Errors that show only on decoding to the end are found later, by the data pipeline.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import BinaryIO

import av
import soundfile
from PIL import Image

from genre_ray.data.drafts import Draft
from genre_ray.data.listing import File
from genre_ray.errors import TrackError
from genre_ray.figure import HEIGHT, WIDTH
from genre_ray.source import open_binary

_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Finding:
    """What was seen of a file: digest (None if it could not be read), a fault and what was found, duration of audio."""

    digest: str | None
    fault: str | None = None
    found: str = ""
    duration_s: float | None = None


@dataclass(frozen=True, slots=True)
class Inspection:
    """What was seen of a track's files; None for what it has not."""

    figure: Finding | None
    audio: Finding | None


class _Unreadable(Exception):
    """What is wrong with a file, in a few words."""


def inspect(drafts: Sequence[Draft], *, verify: bool) -> list[Inspection]:
    """Looks at the files of each draft, several at a time, in their order.

    Without `verify`, no file is opened, and a digest is that of path, size and time.
    """
    if not verify:
        return [Inspection(_unopened(draft.figure), _unopened(draft.audio)) for draft in drafts]
    with ThreadPoolExecutor(max_workers=min(8, (os.cpu_count() or 1) + 1)) as pool:
        return list(pool.map(_inspect, drafts))


def _inspect(draft: Draft) -> Inspection:
    return Inspection(
        figure=_seen(draft.figure, "figure", _check_figure), audio=_seen(draft.audio, "audio", _check_audio)
    )


def _unopened(file: File | None) -> Finding | None:
    if file is None:
        return None
    return Finding(hashlib.sha256(f"unopened|{file.path}|{file.size}|{file.modified}".encode()).hexdigest())


def _seen(file: File | None, noun: str, check: Callable[[BinaryIO], Finding]) -> Finding | None:
    if file is None:
        return None
    try:
        with open_binary(file.source) as stream:
            digest = _digest(stream)
            size = stream.tell()
            stream.seek(0)
            if not size:
                return Finding(digest, f"unreadable-{noun}", "an empty file")
            try:
                found = check(stream)
            except _Unreadable as error:
                return Finding(digest, f"unreadable-{noun}", f"{size} bytes, {error}")
    except TrackError as error:
        return Finding(None, f"missing-{noun}", f"{file.path}: {error.found}")
    except OSError as error:
        return Finding(None, f"unreadable-{noun}", error.strerror or str(error))
    return Finding(digest, found.fault, found.found, found.duration_s)


def _digest(stream: BinaryIO) -> str:
    total = hashlib.sha256()
    while piece := stream.read(_PIECE):
        total.update(piece)
    return total.hexdigest()


def _check_figure(stream: BinaryIO) -> Finding:
    """The size, and the checksums of a PNG's chunks, without decoding the picture."""
    try:
        with Image.open(stream, formats=("PNG", "JPEG")) as image:
            size = image.size
            if size == (WIDTH, HEIGHT):
                image.verify()
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, struct.error, ... on a damaged file
        message = "not a PNG or JPEG picture" if "cannot identify" in str(error) else str(error)
        raise _Unreadable(message) from error
    if size != (WIDTH, HEIGHT):
        return Finding(None, "wrong-size-figure", f"{size[0]}×{size[1]} instead of {WIDTH}×{HEIGHT}")
    return Finding(None)


def _check_audio(stream: BinaryIO) -> Finding:
    """The header, by libsndfile or else by FFmpeg, without decoding."""
    try:
        info = soundfile.info(stream)
    except (soundfile.SoundFileError, RuntimeError, ValueError, OSError):
        stream.seek(0)
        return Finding(None, duration_s=_duration_by_ffmpeg(stream))
    if info.frames == 0:
        raise _Unreadable("no samples")
    return Finding(None, duration_s=float(info.duration))


def _duration_by_ffmpeg(stream: BinaryIO) -> float | None:
    try:
        with av.open(stream, mode="r") as container:
            if not container.streams.audio:
                raise _Unreadable("no audio in it")
            return container.duration / av.time_base if container.duration else None
    except (av.FFmpegError, ValueError, OSError) as error:
        raise _Unreadable("no audio header that libsndfile or FFmpeg know") from error
