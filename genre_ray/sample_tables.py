"""What an MP4 file says about its samples, counted before FFmpeg makes room for them. Decodes nothing.

FFmpeg's demuxer takes 24 bytes and more for each sample that a table declares, and a table of any length fits into
twenty bytes. It finds tables in more places than the standard (ISO/IEC 14496-12) has for them, so they are looked for
by their names in everything but the sound itself.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np

MAX_TRACKS = 16
MAX_ENTRIES = 1 << 21
"""Packets of all tracks together: two hours at 60 pictures a second have 770,000, ten hours of AAC 1.6 million."""

_MAX_BOXES = 100_000
_PIECE = 1 << 20
_LONGEST_FIELDS = 16
_NAMES = (b"cmov", b"elst", b"moof", b"sidx", b"stco", b"co64", b"stsc", b"stsz", b"stts", b"stz2", b"trak", b"trun")
_PCM_PACKET = 900
"""FFmpeg cuts chunks of PCM into packets of up to 1024 frames, at least this many."""


@dataclass
class _Track:
    """Declared by one track: samples, chunks, edits, and where its table of chunks lies."""

    samples: int = 0
    chunks: int = 0
    edits: int = 0
    chunk_table: tuple[int, int] | None = None
    is_pcm: bool | None = None


@dataclass
class _Tally:
    tracks: list[_Track] = field(default_factory=lambda: [_Track()])
    fragments: int = 0
    fragment_samples: int = 0
    is_packed: bool = False

    def add(self, name: bytes, fields: bytes, at: int) -> None:
        """Count the box `name` whose `fields` follow it; `at` is where in the file they begin."""
        track = self.tracks[-1]
        first, second, third = (int.from_bytes(fields[i : i + 4]) for i in (4, 8, 12))
        match name:
            case b"trak":
                self.tracks.append(_Track())
            case b"stsz" | b"stz2":
                track.samples += second
            case b"stts":
                track.is_pcm = track.is_pcm is not False and (first, third) == (1, 1)
            case b"stsc":
                track.chunk_table = (at + 8, first)
            case b"stco" | b"co64":
                track.chunks += first
            case b"elst":
                track.edits += first
            case b"trun":
                self.fragment_samples += first
            case b"sidx" | b"moof":
                self.fragments += 1 if name == b"moof" else third & 0xFFFF
            case b"cmov":
                self.is_packed = True


def implausible_tables(stream: BinaryIO, start: int, size: int) -> str | None:
    """What the tables of an MP4 file of `size` bytes, whose boxes begin at `start`, declare that cannot be so."""
    tally = _Tally()
    tables = 0
    for at, end in _beside_the_sound(stream, start, size):
        for name, fields, place in _tables(stream, at, end):
            tally.add(name, fields, place)
            tables += 1
            if tables > _MAX_BOXES:
                return f"more than {_MAX_BOXES} boxes"
            if tally.is_packed:
                return "a compressed index (cmov)"
            if len(tally.tracks) - 1 > MAX_TRACKS:
                return f"more than {MAX_TRACKS} tracks"
    samples = tally.fragment_samples + sum(track.samples for track in tally.tracks if not track.is_pcm)
    if samples > size:
        return f"{samples} samples declared in {size} bytes"
    entries = tally.fragment_samples + tally.fragments * len(tally.tracks)
    entries += sum(_packets(stream, track) * max(1, track.edits) for track in tally.tracks)
    return f"{entries} packets declared" if entries > MAX_ENTRIES else None


def _beside_the_sound(stream: BinaryIO, start: int, size: int) -> Iterator[tuple[int, int]]:
    """Where the file is something else than `mdat` boxes: (from, to), joined; after too many boxes, all."""
    kept = offset = start
    for _ in range(_MAX_BOXES):
        stream.seek(offset)
        head = stream.read(16)
        length = int.from_bytes(head[:4])
        if length == 1:
            length = int.from_bytes(head[8:16])
        end = size if length == 0 else offset + length
        if len(head) < 8 or end < offset + 8:
            break
        if head[4:8] == b"mdat":
            if kept < offset:
                yield kept, offset
            kept = min(end, size)
        offset = end
        if offset >= size:
            break
    if kept < size:
        yield kept, size


def _tables(stream: BinaryIO, at: int, end: int) -> Iterator[tuple[bytes, bytes, int]]:
    """Name, first fields and their place of each box between `at` and `end` that declares something, in order."""
    while at < end:
        stream.seek(at)
        length = min(_PIECE, end - at)
        piece = stream.read(length + 4 + _LONGEST_FIELDS)
        found = (match.start() for name in _NAMES for match in re.finditer(re.escape(name), piece))
        for place in sorted(place for place in found if place < length):
            yield piece[place : place + 4], piece[place + 4 : place + 4 + _LONGEST_FIELDS], at + place + 4
        at += length


def _packets(stream: BinaryIO, track: _Track) -> int:
    """Entries that FFmpeg's index of a track will have: samples, or for PCM pieces of chunks."""
    if not track.is_pcm or track.chunk_table is None:
        return track.samples
    at, count = track.chunk_table
    stream.seek(at)
    content = stream.read(min(12 * count, 12 * MAX_ENTRIES))
    runs = np.frombuffer(content, ">u4", len(content) // 12 * 3).reshape(-1, 3).astype(np.float64)
    chunks = np.abs(np.diff(runs[:, 0], append=track.chunks + 1))
    return int(np.sum(chunks * np.ceil(runs[:, 1] / _PCM_PACKET)))
