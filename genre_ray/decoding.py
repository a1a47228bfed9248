"""Blocks of samples out of any audio file, by libsndfile or FFmpeg. Knows nothing about clips or resampling.

libsndfile reads wav, flac, ogg, opus, aiff, au, caf and mp3; FFmpeg (PyAV) the rest, and what libsndfile refuses.
The content decides, never the file's name. Only the first audio stream is decoded, and FFmpeg may open nothing but the
file it was given.
"""

import ctypes
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

import av
import av.error
import numpy as np
import soundfile
from numpy.typing import NDArray

from genre_ray.budget import Budget
from genre_ray.container import Header, read_header
from genre_ray.errors import AudioError
from genre_ray.sample_tables import implausible_tables
from genre_ray.schema import Source
from genre_ray.source import local_path, name_of, open_binary

MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 8_000, 192_000
MAX_CHANNELS = 8

_BLOCK_VALUES = 1 << 18
_UNTOLD_FRAMES = 1 << 60
_BY_LIBSNDFILE = frozenset({"wav", "rf64", "w64", "flac", "ogg", "aiff", "au", "caf", "mp3"})
_FFMPEG_FORMATS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dts,eac3,flac,flv,matroska,webm,mp3,mpeg,mpegts,oga,ogg,tta,w64,wav,wv"
)
_DECODERS = (
    "aac,aac_latm,ac3,alac,als,amrnb,amrwb,ape,cook,dca,dss_sp,eac3,flac,g722,g726,g726le,gsm,gsm_ms,ilbc,"
    "libopencore_amrnb,libopencore_amrwb,libopus,libspeex,libvorbis,mace3,mace6,mlp,mp1,mp1float,mp2,mp2float,mp3,"
    "mp3float,nellymoser,opus,qdm2,qdmc,s302m,speex,truehd,truespeech,tta,vorbis,wavpack,wmalossless,wmapro,wmav1,"
    "wmav2,wmavoice"
)
_MAX_STREAMS = "64"
_MAX_ALLOCATION = 64 << 20
_GATHERED = 1 << 16
_STATING_LENGTH = frozenset({"asf", "matroska", "wav", "w64", "caf", "tta", "ape"})
_SCALE = {"u8": (128.0, 128.0), "s16": (0.0, 2.0**15), "s32": (0.0, 2.0**31), "s64": (0.0, 2.0**63)}


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """What a file's header says; `sample_rate` in Hz, `duration_s` None where neither it nor FFmpeg can say."""

    container: str
    codec: str
    sample_rate: int
    channels: int
    duration_s: float | None


@dataclass(frozen=True, slots=True)
class Decoded:
    """An opened file, with `blocks` of float32 (frames, channels).

    `declared_s` is the length that the header states for certain. Samples of integer formats lie within [-1, 1].
    """

    info: AudioInfo
    declared_s: float | None
    blocks: Iterator[NDArray[np.float32]]


@contextmanager
def open_audio(source: Source, *, track: str | None = None, budget: Budget | None = None) -> Iterator[Decoded]:
    """The first audio stream of `source`, header checked, nothing decoded yet; `budget` is looked at by each packet.

    Raises AudioError "not_found", "empty", "not_audio", "no_audio_stream", "truncated", "bad_channels" or
    "bad_sample_rate"; and "unreachable", at the end of the block at the latest, where remote storage goes away.
    """
    name, budget = name_of(source, track), budget or Budget()
    with ExitStack() as stack:
        with open_binary(source, track=track) as stream:
            header = read_header(stream)
        if header.size == 0:
            raise refuse("empty", f"{name}: the file is empty", track, found="0 bytes")
        decoded = _open_sound(source, header, stack, name, track, budget)
        _check_layout(decoded.info, name, track)
        budget.turn_to("decode")
        yield decoded


def refuse(kind: str, message: str, track: str | None, *, found: str) -> AudioError:
    """An AudioError that says what formats are accepted."""
    return AudioError(
        message,
        kind=kind,
        track=track,
        found=found,
        expected=(
            f"whole audio (wav, flac, ogg, opus, mp3, m4a, aiff, au, wma, video with sound) of {MIN_SAMPLE_RATE} to "
            f"{MAX_SAMPLE_RATE} Hz and 1 to {MAX_CHANNELS} channels"
        ),
        remedy="fetch or convert the file again, or leave it out",
    )


def _open_sound(
    source: Source, header: Header, stack: ExitStack, name: str, track: str | None, budget: Budget
) -> Decoded:
    if header.container in _BY_LIBSNDFILE:
        stream: BinaryIO = stack.enter_context(open_binary(source, track=track))
        handle = stream if local_path(source) is None else stream.fileno()
        try:
            sound = stack.enter_context(soundfile.SoundFile(handle, closefd=False))
        except (soundfile.LibsndfileError, RuntimeError, TypeError, OSError):
            sound = None  # a codec that libsndfile lacks (ADPCM in wav, Speex in ogg, ...)
        if (
            sound is not None and sound.frames > 0
        ):  # none where a recorder died before it wrote the length: FFmpeg copes
            info = _libsndfile_info(sound, header)
            declared_s = header.frames / info.sample_rate if header.frames and info.sample_rate > 0 else None
            return Decoded(info, declared_s, _libsndfile_blocks(sound))
    if header.container == "asf" and header.is_cut:
        found = f"{header.size} bytes, fewer than 90 % of what the header declares"
        raise refuse("truncated", f"{name}: the file is cut short", track, found=found)
    return _open_ffmpeg(source, header, stack, name, track, budget)


def _libsndfile_info(sound: Any, header: Header) -> AudioInfo:
    rate, frames = int(sound.samplerate), int(sound.frames)
    seconds = frames / rate if 0 < frames < _UNTOLD_FRAMES and rate > 0 else None
    return AudioInfo(header.container, str(sound.subtype).lower(), rate, int(sound.channels), seconds)


def _libsndfile_blocks(sound: Any) -> Iterator[NDArray[np.float32]]:
    frames = max(_BLOCK_VALUES // int(sound.channels), 1)
    while True:
        try:
            block: NDArray[np.float32] = sound.read(frames, dtype="float32", always_2d=True)
        except (soundfile.LibsndfileError, RuntimeError):
            return  # what was decoded so far is compared with the declared length by the caller
        if not len(block):
            return
        yield block


def _open_ffmpeg(
    source: Source, header: Header, stack: ExitStack, name: str, track: str | None, budget: Budget
) -> Decoded:
    stream: BinaryIO = stack.enter_context(open_binary(source, track=track))
    _refuse_implausible(stream, header, name, track)
    # A bare object: FFmpeg would take the name of a file for a hint of what is in it.
    read = _counted(stream, budget)
    handle = SimpleNamespace(read=read, seek=stream.seek, tell=stream.tell, seekable=stream.seekable)
    try:
        options = _ffmpeg_options("mov,mp4" if header.container == "mp4" else _FFMPEG_FORMATS)
        container = stack.enter_context(av.open(handle, mode="r", options=options, metadata_errors="ignore"))
    except (av.error.FFmpegError, ValueError, OSError) as error:
        kind = "truncated" if header.is_cut else "not_audio"
        found = f"{error.__class__.__name__} from FFmpeg; the file starts {header.start[:16]!r}"
        raise refuse(kind, f"{name}: cannot be read as audio", track, found=found) from error
    budget.check()
    if not container.streams.audio:
        found = "streams of " + (", ".join(sorted({str(stream.type) for stream in container.streams})) or "no kind")
        raise refuse("no_audio_stream", f"{name}: no audio stream", track, found=found)
    audio = container.streams.audio[0]
    codec = audio.codec_context
    if codec is None or not codec.sample_rate or not codec.channels:
        found = f"{container.format.name} without a sample rate and channels that FFmpeg can tell"
        raise refuse("not_audio", f"{name}: cannot be read as audio", track, found=found)
    if codec.name not in _sound_decoders():
        raise refuse("not_audio", f"{name}: cannot be read as audio", track, found=f"the codec {codec.name[:40]}")
    codec.thread_count = 1
    info = AudioInfo(
        container=container.format.name.split(",")[0],
        codec=codec.name,
        sample_rate=codec.sample_rate,
        channels=codec.channels,
        duration_s=_seconds(container, audio),
    )
    blocks = _gathered(_ffmpeg_blocks(container, audio, info, name, track, budget))
    return Decoded(info, _declared(container, audio, info), blocks)


def _counted(stream: BinaryIO, budget: Budget) -> Callable[[int], bytes]:
    """`stream.read` that asks first: FFmpeg looks through megabytes of packets before it gives the first away.

    PyAV keeps what is raised here until FFmpeg comes back, which may read on: there is nothing more for it then.
    """
    is_over = False

    def read(count: int) -> bytes:
        nonlocal is_over
        if is_over:
            return b""
        is_over = True  # unless the budget lets us pass
        budget.check()
        is_over = False
        return stream.read(count)

    return read


def _refuse_implausible(stream: BinaryIO, header: Header, name: str, track: str | None) -> None:
    found = implausible_tables(stream, header.body, header.size) if header.container == "mp4" else None
    stream.seek(0)
    if found is not None:
        raise refuse("not_audio", f"{name}: cannot be read as audio", track, found=found)


def _ffmpeg_options(formats: str) -> dict[str, str]:
    """Nothing but sound is decoded, not even to see what it is, and no single piece of memory is large."""
    _limit_allocations()
    return {
        "format_whitelist": formats,
        "protocol_whitelist": "",
        "codec_whitelist": ",".join(sorted(_sound_decoders())),
        "max_streams": _MAX_STREAMS,
    }


@cache
def _sound_decoders() -> frozenset[str]:
    simple = (name for name in av.codecs_available if name.startswith(("pcm_", "adpcm_")))
    return frozenset((*_DECODERS.split(","), *simple))


@cache
def _limit_allocations() -> None:
    """FFmpeg believes what files say about their own size; PyAV has no way to tell it not to, its library has."""
    beside = Path(av.__file__).parent
    for path in (*beside.parent.glob("av.libs/*avutil*"), *beside.glob(".dylibs/*avutil*")):
        library = ctypes.CDLL(str(path))
        library.av_max_alloc.argtypes, library.av_max_alloc.restype = [ctypes.c_size_t], None
        library.av_max_alloc(_MAX_ALLOCATION)


def _seconds(container: Any, stream: Any) -> float | None:
    """FFmpeg's idea of the length, an estimate from the bit rate for some formats."""
    if stream.duration is not None and stream.time_base is not None and stream.duration > 0:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration and container.duration > 0 else None


def _declared(container: Any, stream: Any, info: AudioInfo) -> float | None:
    """The length of the sound where the header states it: in mp4 always, elsewhere if there is nothing but sound."""
    if info.container == "mov" or (info.container in _STATING_LENGTH and len(container.streams) == 1):
        return _seconds(container, stream)
    return None


def _gathered(blocks: Iterator[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
    """The same samples in fewer pieces: a packet may hold only one."""
    parts, count = [], 0
    for block in blocks:
        parts.append(block)
        count += len(block)
        if count >= _GATHERED:
            yield np.concatenate(parts)
            parts, count = [], 0
    if parts:
        yield np.concatenate(parts)


def _ffmpeg_blocks(
    container: Any, stream: Any, info: AudioInfo, name: str, track: str | None, budget: Budget
) -> Iterator[NDArray[np.float32]]:
    packets = container.demux()  # of all streams: those of others cost time as well
    while True:
        try:
            packet = next(packets, None)
        except IndexError:  # PyAV stumbles over a stream that appears in mid-file (MPEG-TS); the next packet is fine
            packets = container.demux()
            continue
        except (av.error.FFmpegError, OSError):
            return
        if packet is None:
            return
        budget.check()
        if packet.stream.index != stream.index:
            continue
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            continue  # one damaged packet is skipped, as players do; the caller compares the total with the header
        for frame in frames:
            if (frame.sample_rate, len(frame.layout.channels)) != (info.sample_rate, info.channels):
                found = f"{frame.sample_rate} Hz, {len(frame.layout.channels)} channels"
                raise refuse("bad_channels", f"{name}: the format changes inside the file", track, found=found)
            yield _as_float(frame)


def _as_float(frame: Any) -> NDArray[np.float32]:
    """One FFmpeg frame as float32 (frames, channels)."""
    values = _values(frame)
    samples = values.T if frame.format.is_planar else values.reshape(-1, len(frame.layout.channels))
    offset, scale = _SCALE.get(frame.format.name.rstrip("p"), (0.0, 1.0))
    if scale == 1.0:
        return samples.astype(np.float32)
    return ((samples.astype(np.float64) - offset) / scale).astype(np.float32)


def _values(frame: Any) -> NDArray[Any]:
    """As PyAV's `to_ndarray`, which knows no integers of 64 bits."""
    if frame.format.name not in ("s64", "s64p"):
        values: NDArray[Any] = frame.to_ndarray()
        return values
    count = frame.samples * (1 if frame.format.is_planar else len(frame.layout.channels))
    return np.stack([np.frombuffer(plane, np.int64, count) for plane in frame.planes])


def _check_layout(info: AudioInfo, name: str, track: str | None) -> None:
    if not 1 <= info.channels <= MAX_CHANNELS:
        raise refuse("bad_channels", f"{name}: unusable number of channels", track, found=f"{info.channels} channels")
    if not MIN_SAMPLE_RATE <= info.sample_rate <= MAX_SAMPLE_RATE:
        raise refuse("bad_sample_rate", f"{name}: unusable sample rate", track, found=f"{info.sample_rate} Hz")
