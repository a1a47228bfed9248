"""Audio of any format and length as mono float32 at 22050 Hz: whole, or as a stream of clips. Knows nothing about Ray.

- Down-mix: the plain mean over all channels, as librosa's `to_mono`; of 5.1 the bass channel counts like the others.
- Resampling: soxr, quality HQ, as `librosa.load` does; files at 22050 Hz pass untouched.
- Integer samples are divided by 2^(bits - 1), so a GTZAN file gives the very numbers of `librosa.load(path, sr=22050)`.
- A file that ends early is used when at least 90 % of the declared length decodes, and refused as "truncated" below.
  Formats that declare no length (ogg, raw aac, mp3 without a VBR header) are taken for what they hold.
"""

from collections.abc import Iterator

import numpy as np
import soxr
from numpy.typing import NDArray

from genre_ray.budget import Budget
from genre_ray.config import ClipConfig
from genre_ray.decoding import AudioInfo, open_audio, refuse
from genre_ray.errors import AudioError
from genre_ray.schema import SAMPLE_RATE, Source
from genre_ray.source import name_of, refuse_too_large, size_of

_WHOLE = 1.1
SHORT = 0.9
"""Below this part of a clip, sound is repeated until the clip is full."""

_DECLARED = 0.9
_DECLARED_SLACK_S = 0.1
_SILENT_PEAK = 1e-5
_LOUDEST = 2.0**20

__all__ = ["SAMPLE_RATE", "AudioInfo", "load", "probe", "read_clips"]


def probe(source: Source, *, track: str | None = None) -> AudioInfo:
    """What the header says of a file, without decoding it; errors as in `decoding.open_audio`."""
    with open_audio(source, track=track) as decoded:
        return decoded.info


def load(
    source: Source,
    *,
    clip: ClipConfig = ClipConfig(),  # noqa: B008 - frozen
    track: str | None = None,
) -> NDArray[np.float32]:
    """The whole of a file as mono float32 (n,) at 22050 Hz, within `clip.max_duration_s` and `clip.max_bytes`.

    Raises AudioError with kind "not_found", "too_large", "empty", "not_audio", "no_audio_stream", "bad_channels",
    "bad_sample_rate", "truncated", "too_long", "not_finite" or "out_of_range". Silence and short files pass.
    """
    return np.concatenate(list(_stream(source, clip, track, Budget())))


def read_clips(
    source: Source, *, clip: ClipConfig, track: str | None = None, budget: Budget | None = None
) -> Iterator[tuple[float, NDArray[np.float32]]]:
    """Clips of a file as (start in seconds, samples), decoded as they are asked for, in memory of one clip or two.

    - Up to 1.1 `duration_s`: one clip with all samples.
    - Below 0.9 `duration_s`: one clip, the sound repeated until it is `duration_s` long.
    - Longer: windows of `duration_s` every `hop_s`; then one that ends with the track, if at least half of it is sound
      that no window had.
    - Windows of digital silence (peak below 1e-5) are left out of longer tracks.

    Raises as `load` does, and AudioError "too_short" (below `min_duration_s`) and "silent" (nothing else in it).
    What can only be seen at the end of a file ("truncated", "too_long", "silent") is raised there. `budget` is looked
    at packet by packet, and the windows that the header promises before that.
    """
    size = round(clip.duration_s * SAMPLE_RATE)
    hop = round((clip.hop_s or clip.duration_s) * SAMPLE_RATE)
    blocks = _stream(source, clip, track, budget or Budget())
    start, loud = 0, 0
    for start, window in _windows(blocks, size=size, hop=hop):
        if start == 0 and len(window) != size:
            window = _filled(window, clip, source, track)
        if np.max(np.abs(window)) >= _SILENT_PEAK:
            loud += 1
            yield start / SAMPLE_RATE, window
    if not loud:
        raise AudioError(
            f"{name_of(source, track)}: silent",
            kind="silent",
            track=track,
            found=f"no sample above {_SILENT_PEAK:g} of full scale",
            expected="sound",
            remedy="leave the track out",
        )


def _windows(
    blocks: Iterator[NDArray[np.float32]], *, size: int, hop: int
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Windows of `size` samples by the rules of `read_clips`; a track of up to 1.1 windows comes out whole."""
    parts: list[NDArray[np.float32]] = [np.empty(0, dtype=np.float32)]
    first = end = 0  # positions in the track of what is in `parts`
    start = covered = 0  # next window's start, end of the last one
    for block in blocks:
        parts.append(block)
        end += len(block)
        if end <= _WHOLE * size or (end < start + size and end - first < 2 * size):
            continue  # joined once a window, however short the blocks
        kept = np.concatenate(parts)
        while start + size <= end:
            yield start, kept[start - first : start - first + size]
            covered, start = start + size, start + hop
        drop = min(start, end - size) - first
        parts, first = [kept[drop:]], first + drop
    kept = np.concatenate(parts)
    if end <= _WHOLE * size:
        yield 0, kept
    elif end - max(covered, start) >= size / 2:
        yield end - size, kept[len(kept) - size :]


def _filled(window: NDArray[np.float32], clip: ClipConfig, source: Source, track: str | None) -> NDArray[np.float32]:
    """The only window of a track: refused when too short, repeated when short, else as it is."""
    seconds = len(window) / SAMPLE_RATE
    if seconds < clip.min_duration_s:
        raise AudioError(
            f"{name_of(source, track)}: too short",
            kind="too_short",
            track=track,
            found=f"{seconds:.2f} s of sound",
            expected=f"at least {clip.min_duration_s:g} s",
            remedy="leave the track out or lower min_duration_s",
        )
    if seconds < SHORT * clip.duration_s:
        return np.resize(window, round(clip.duration_s * SAMPLE_RATE))
    return window


def _stream(source: Source, clip: ClipConfig, track: str | None, budget: Budget) -> Iterator[NDArray[np.float32]]:
    """Mono blocks at 22050 Hz, every sample checked, the length counted and not believed."""
    name = name_of(source, track)
    refuse_too_large(size_of(source, track=track), limit=clip.max_bytes, name=name, track=track, kind=AudioError)
    with open_audio(source, track=track, budget=budget) as decoded:
        info = decoded.info
        _refuse_too_long(info.duration_s or 0.0, clip, name, track)
        budget.expect(1 + int(((info.duration_s or 0.0) - clip.duration_s) / (clip.hop_s or clip.duration_s)))
        resampler = None
        if info.sample_rate != SAMPLE_RATE:
            resampler = soxr.ResampleStream(info.sample_rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
        frames = 0
        for block in decoded.blocks:
            budget.check()
            frames += len(block)
            _refuse_too_long(frames / info.sample_rate, clip, name, track)
            _check_values(block, name, track)
            mono = block[:, 0] if info.channels == 1 else np.mean(block, axis=1)
            yield mono if resampler is None else resampler.resample_chunk(mono)
        if resampler is not None:
            yield resampler.resample_chunk(np.empty(0, dtype=np.float32), last=True)
        _check_end(frames / info.sample_rate, decoded.declared_s, name, track)


def _check_end(seconds: float, declared_s: float | None, name: str, track: str | None) -> None:
    if declared_s is not None and seconds < _DECLARED * declared_s - _DECLARED_SLACK_S:
        found = f"{seconds:.2f} s of the {declared_s:.2f} s that the header declares"
        raise refuse("truncated", f"{name}: the file is cut short or damaged", track, found=found)
    if seconds == 0.0:
        raise refuse("empty", f"{name}: no samples", track, found="a header without sound")


def _refuse_too_long(seconds: float, clip: ClipConfig, name: str, track: str | None) -> None:
    if seconds > clip.max_duration_s:
        raise AudioError(
            f"{name}: longer than the limit",
            kind="too_long",
            track=track,
            found=f"{seconds:.0f} s or more",
            expected=f"at most {clip.max_duration_s:g} s",
            remedy="cut the file or raise max_duration_s",
        )


def _check_values(block: NDArray[np.float32], name: str, track: str | None) -> None:
    peak = float(np.max(np.abs(block), initial=0.0))
    if not np.isfinite(peak):
        raise refuse("not_finite", f"{name}: samples are not finite", track, found="NaN or infinity among the samples")
    if peak > _LOUDEST:
        raise refuse("out_of_range", f"{name}: samples far out of range", track, found=f"a peak of {peak:.3g}")
