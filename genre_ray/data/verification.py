"""A first look into each file: is its header sound, and what is its content's digest. Knows nothing about layouts.

Errors that show only on decoding to the end are found later, by the data pipeline.
"""

import hashlib
import io
import os
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import av
import soundfile
from PIL import Image

from genre_ray.data.drafts import Draft
from genre_ray.data.listing import File, read_bytes

FIGURE_SIZE = (432, 288)
"""Width and height of GTZAN's figures in pixels."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What was seen of a file: its digest (None if it could not be read) and a fault with what was found, or None."""

    digest: str | None
    fault: str | None = None
    found: str = ""


@dataclass(frozen=True, slots=True)
class Inspection:
    """What was seen of a track's files; None for what it has not."""

    figure: Finding | None
    audio: Finding | None


def inspect(drafts: Iterable[Draft], *, verify: bool) -> list[Inspection]:
    """Looks at the files of each draft, several at a time.

    Without `verify`, no file is opened, and a digest is that of path, size and time.
    """
    if not verify:
        return [Inspection(_unopened(draft.figure), _unopened(draft.audio)) for draft in drafts]
    with ThreadPoolExecutor(max_workers=min(8, (os.cpu_count() or 1) + 1)) as pool:
        return list(pool.map(_inspect, drafts))


def _inspect(draft: Draft) -> Inspection:
    return Inspection(_seen(draft.figure, "figure", _check_figure), _seen(draft.audio, "audio", _check_audio))


def _seen(file: File | None, noun: str, check: Callable[[bytes], tuple[str, str] | None]) -> Finding | None:
    if file is None:
        return None
    try:
        content = read_bytes(file.source)
    except FileNotFoundError:
        return Finding(None, f"missing-{noun}", f"no file {file.path}")
    except OSError as error:
        return Finding(None, f"unreadable-{noun}", f"{error.strerror or error}")
    wrong = check(content)
    digest = hashlib.sha256(content).hexdigest()
    return Finding(digest, *wrong) if wrong else Finding(digest)


def _unopened(file: File | None) -> Finding | None:
    if file is None:
        return None
    return Finding("unverified:" + hashlib.sha256(f"{file.path}|{file.size}|{file.modified}".encode()).hexdigest())


def _check_figure(content: bytes) -> tuple[str, str] | None:
    """The size, and the checksums of a PNG's chunks, without decoding the picture."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content)) as image:
                size = image.size
                image.verify()
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, struct.error, ...
        return "unreadable-figure", _brief(error, content)
    if size != FIGURE_SIZE:
        return "wrong-size-figure", f"{size[0]}×{size[1]} instead of {FIGURE_SIZE[0]}×{FIGURE_SIZE[1]}"
    return None


def _check_audio(content: bytes) -> tuple[str, str] | None:
    """The header, by libsndfile or else by FFmpeg, without decoding."""
    try:
        frames = soundfile.info(io.BytesIO(content)).frames
    except (soundfile.SoundFileError, RuntimeError, ValueError, OSError) as error:
        return None if _has_audio_stream(content) else ("unreadable-audio", _brief(error, content))
    return ("unreadable-audio", "no samples") if frames == 0 else None


def _has_audio_stream(content: bytes) -> bool:
    try:
        with av.open(io.BytesIO(content)) as container:
            return len(container.streams.audio) > 0
    except (av.FFmpegError, ValueError, OSError):
        return False


def _brief(error: Exception, content: bytes) -> str:
    if not content:
        return "an empty file"
    text = str(error).split("<_io.BytesIO")[0].replace("Error opening ", "").strip(" :") or type(error).__name__
    return f"{len(content)} bytes, {text}"
